// Sends requests to the server that this page came from. Addresses are relative to the page, because a proxy may serve
// both under a path.

import { currentKey, signOut } from './session.js'

/** An error response, or a request that got none. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: number
  /** The `code` of the problem; empty if the response was not one of the server. */
  readonly code: string
  readonly requestId: string | undefined
  readonly problem: Readonly<Record<string, unknown>>

  constructor(message: string, status = 0, problem: Readonly<Record<string, unknown>> = {}) {
    super(message)
    this.status = status
    this.problem = problem
    this.code = typeof problem.code === 'string' ? problem.code : ''
    this.requestId = typeof problem.request_id === 'string' ? problem.request_id : undefined
  }
}

export type Query = Readonly<Record<string, string | number | boolean | null | undefined>>

export interface CallOptions {
  readonly query?: Query
  /** Sent as JSON. */
  readonly json?: object
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal | undefined
  /** Default: the key of the session. */
  readonly key?: string | null
}

export const path = (...parts: readonly (string | number)[]): string =>
  parts.map((part) => encodeURIComponent(String(part))).join('/')

function addressOf(route: string, query: Query = {}): URL {
  const url = new URL(route, new URL('.', document.baseURI))
  for (const [name, value] of Object.entries(query))
    if (value !== undefined && value !== null && value !== '' && value !== false)
      url.searchParams.set(name, String(value))
  return url
}

const authorization = (key: string | null): Record<string, string> => (key ? { authorization: `Bearer ${key}` } : {})

async function send(method: string, route: string, options: CallOptions = {}): Promise<Response> {
  const { query, json, headers, signal, key = currentKey() } = options
  let response: Response
  try {
    response = await fetch(addressOf(route, query), {
      method,
      headers: { ...authorization(key), ...(json && { 'content-type': 'application/json' }), ...headers },
      ...(json && { body: JSON.stringify(json) }),
      ...(signal && { signal }),
    })
  } catch (error) {
    if (signal?.aborted) throw error
    throw new ApiError('The server does not respond. Check that it runs and that the network works.')
  }
  if (response.ok) return response
  throw errorOf(response.status, await response.text(), options.key === undefined)
}

/** @param ofSession whether the key of the session was used, which is then invalid after a 401 */
function errorOf(status: number, body: string, ofSession: boolean): ApiError {
  if (status === 401 && ofSession) signOut()
  try {
    const problem = JSON.parse(body) as Record<string, unknown>
    return new ApiError(String(problem.detail ?? problem.title ?? `Status ${status}`), status, problem)
  } catch {
    return new ApiError(`The response has status ${status} and no description.`, status)
  }
}

/** The JSON of a response; undefined if it has none. */
export async function call<T>(method: string, route: string, options?: CallOptions): Promise<T> {
  const response = await send(method, route, options)
  const body = await response.text()
  return (body === '' ? undefined : JSON.parse(body)) as T
}

export const get = <T>(route: string, query: Query = {}, signal?: AbortSignal): Promise<T> =>
  call<T>('GET', route, { query, signal })

export const getText = async (route: string, signal?: AbortSignal): Promise<string> =>
  (await send('GET', route, { signal })).text()

/** Sends a file. XMLHttpRequest, because fetch does not report the progress of a request's body. */
export function sendFile<T>(
  route: string,
  query: Query,
  file: Blob,
  headers: Readonly<Record<string, string>>,
  onProgress: (share: number) => void,
  signal: AbortSignal,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open('POST', addressOf(route, query))
    for (const [name, value] of Object.entries({ ...authorization(currentKey()), ...headers }))
      request.setRequestHeader(name, value)
    request.upload.onprogress = ({ loaded, total }) => onProgress(total > 0 ? loaded / total : 0)
    request.onload = () => {
      if (request.status >= 400) return reject(errorOf(request.status, request.responseText, true))
      try {
        resolve(JSON.parse(request.responseText) as T)
      } catch {
        reject(new ApiError('The response of the server is not JSON.', request.status))
      }
    }
    request.onerror = () =>
      reject(new ApiError('The connection closed while the file was sent. The server may limit the size of a file.'))
    request.onabort = () => reject(signal.reason)
    signal.addEventListener('abort', () => request.abort())
    request.send(file)
  })
}

export interface ServerEvent {
  readonly event: string
  readonly data: string
}

/** Reads server-sent events until the stream ends. EventSource cannot send the API key. */
export async function* events(route: string, signal: AbortSignal): AsyncGenerator<ServerEvent> {
  const response = await send('GET', route, { headers: { accept: 'text/event-stream' }, signal })
  if (!response.body) return
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    text += value
    const blocks = text.split(/\r?\n\r?\n/)
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const fields = block.split(/\r?\n/).map((line) => /^(\w+): ?(.*)$/.exec(line))
      const data = fields.flatMap((field) => (field?.[1] === 'data' ? [field[2] ?? ''] : [])).join('\n')
      const event = fields.find((field) => field?.[1] === 'event')?.[2] ?? 'message'
      if (data !== '') yield { event, data }
    }
  }
}
