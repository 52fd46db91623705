// A task on a server. Requests that the server rejects because it is overloaded or not available are repeated.

import { setTimeout } from 'node:timers/promises'
import type { Text } from '../backbones/tokenizer.js'
import type { OpenedTask } from '../evaluation/opened-task.js'
import { takesPairs } from '../petl/problem-files.js'
import { type InputKind, type ProblemType, problemTypes } from '../petl/task.js'
import { Problem, reasonOf } from '../problem.js'
import type { ScoreOptions } from '../tasks/heads.js'
import type { Prediction } from '../tasks/predictions.js'

/** The API key comes from the environment, because other users of the machine can see command lines. */
const keyVariable = 'PROPETL_KEY'

/** Most characters of a text that are sent: more than models read, and few enough for the default --max-body-bytes. */
const mostCharacters = 300_000

/** @throws Problem `invalid_setting`, `server_failed` */
export async function openServerTask(url: string, onWarning: (what: string) => void): Promise<OpenedTask> {
  if (!URL.canParse(url))
    throw new Problem(
      'invalid_setting',
      `${url} is not a valid URL; expected one like http://localhost:8080/tasks/reviews`,
    )
  const address = url.replace(/\/$/, '')
  let hasWarned = false
  const onRetry = (failure: Problem) => {
    if (!hasWarned) onWarning(`${failure.message}. The request is repeated until it succeeds.`)
    hasWarned = true
  }
  const description = (await repeated(() => requestJson(address), onRetry, isRejectedForNow)) as {
    problem_type: ProblemType
    labels: string[]
    inputs?: InputKind
    threshold?: number
    thresholds?: number[]
    metrics?: Record<string, unknown>
  }
  const { problem_type: problem, labels, threshold, metrics = {} } = description
  const thresholds = description.thresholds ? Float32Array.from(description.thresholds) : threshold
  if (!problemTypes.includes(problem))
    throw new Problem(
      'server_failed',
      `${address} is not a task; expected a URL like http://localhost:8080/tasks/reviews`,
    )

  const predict = async (
    texts: readonly Text[],
    options: ScoreOptions,
    signal?: AbortSignal,
  ): Promise<readonly Prediction[]> => {
    const { rawScores, topK } = options
    const inputs = texts.map(({ text, textPair }) => ({
      text: text.slice(0, mostCharacters),
      ...(textPair !== undefined && { text_pair: textPair.slice(0, mostCharacters) }),
    }))
    const body = { inputs, raw_scores: rawScores, ...(topK !== undefined && { top_k: topK }) }
    try {
      const response = await repeated(
        () => requestJson(`${address}/predict`, body, signal),
        onRetry,
        isTemporary,
        signal,
      )
      return (response as { predictions: Prediction[] }).predictions
    } catch (error) {
      if (texts.length === 1 || !isTooLarge(error)) throw error
      const middle = Math.ceil(texts.length / 2)
      const [first, second] = [texts.slice(0, middle), texts.slice(middle)]
      return [...(await predict(first, options, signal)), ...(await predict(second, options, signal))]
    }
  }
  return {
    takesPairs: takesPairs(problem) && description.inputs !== 'text',
    space: { problem, labels, ...(thresholds !== undefined && { thresholds }) },
    metrics,
    maxTexts: 32,
    maxCharacters: mostCharacters / 2,
    concurrency: 4,
    predict,
    close: async () => {},
  }
}

/** What a Problem `server_failed` says about a failed request. */
interface Failure {
  /** Undefined if there is no response. */
  readonly status?: number
  /** The code of the problem in the response of a propetl server. */
  readonly code?: unknown
  readonly retryAfterMs?: number
}

const failureOf = (error: unknown): Failure | undefined =>
  error instanceof Problem && error.code === 'server_failed' ? error.details : undefined

/** 429 and 503 also for rate limits and restarts; 502 and 504 come from proxies, too. */
const temporaryStatuses: ReadonlySet<number | undefined> = new Set([429, 502, 503, 504])
const isRejectedForNow = (error: unknown): boolean => temporaryStatuses.has(failureOf(error)?.status)

/** The server has responded before, so that a lost connection is temporary, too. */
const isTemporary = (error: unknown): boolean => {
  const failure = failureOf(error)
  return failure !== undefined && (failure.status === undefined || isRejectedForNow(error))
}

const tooLargeCodes: ReadonlySet<unknown> = new Set(['too_many_inputs', 'request_too_costly', 'answer_too_large'])
const isTooLarge = (error: unknown): boolean => {
  const failure = failureOf(error)
  return failure?.status === 413 || tooLargeCodes.has(failure?.code)
}

/** A request fails if it was repeated for this long. */
const maxRepeatMs = 300_000
const pauses = { firstMs: 250, longestMs: 15_000 } as const

/**
 * Repeats a request that fails temporarily, after the pause that the server asks for, or after pauses that double.
 * @throws the error of the last attempt; the reason of the signal
 */
async function repeated<T>(
  request: () => Promise<T>,
  onRetry: (failure: Problem) => void,
  isTemporary: (error: unknown) => boolean,
  signal?: AbortSignal,
): Promise<T> {
  const start = performance.now()
  for (let pauseMs: number = pauses.firstMs; ; pauseMs = Math.min(2 * pauseMs, pauses.longestMs)) {
    try {
      return await request()
    } catch (error) {
      // A random part keeps concurrent requests from returning at the same time.
      const waitMs = failureOf(error)?.retryAfterMs ?? pauseMs * (0.5 + Math.random())
      if (!(error instanceof Problem) || !isTemporary(error)) throw error
      if (performance.now() - start + waitMs > maxRepeatMs) throw error
      onRetry(error)
      await setTimeout(waitMs, undefined, signal && { signal })
    }
  }
}

/** @throws Problem `server_failed`; the reason of the signal */
async function requestJson(address: string, body?: unknown, signal?: AbortSignal): Promise<unknown> {
  const key = process.env[keyVariable]
  const headers: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` }
  let response: Response
  let text: string
  try {
    response = await fetch(address, {
      ...(signal && { signal }),
      ...(body === undefined
        ? { headers }
        : { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    })
    text = await response.text()
  } catch (error) {
    signal?.throwIfAborted()
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
    throw new Problem(
      'server_failed',
      `no server responds at ${address}: ${reasonOf(cause)}. Check the address and that the server is running`,
    )
  }
  if (response.ok) return parseJson(address, text)
  throw failed(address, response, text, key !== undefined)
}

function parseJson(address: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Problem(
      'server_failed',
      `${address} did not respond with JSON; expected a URL like http://localhost:8080/tasks/reviews`,
      { status: 200 },
    )
  }
}

function failed(address: string, { status, headers }: Response, text: string, hasKey: boolean): Problem {
  const { code, detail } = problemIn(text)
  const retryAfterMs = retryAfterMsOf(headers.get('retry-after'))
  const failure: Failure = { status, code, ...(retryAfterMs !== undefined && { retryAfterMs }) }
  if (status !== 401)
    return new Problem('server_failed', `${address} responded with ${status}: ${detail}`, { ...failure })
  return new Problem(
    'server_failed',
    hasKey
      ? `${address} rejects the API key in the environment variable ${keyVariable}: it is unknown, expired or revoked`
      : `${address} requires an API key; set it in the environment variable ${keyVariable}`,
    { ...failure },
  )
}

/** The problem in an error response of a propetl server, or the beginning of any other response. */
function problemIn(text: string): { readonly code?: unknown; readonly detail: string } {
  try {
    const { code, detail } = JSON.parse(text) as { code?: unknown; detail?: unknown }
    if (typeof detail === 'string') return { code, detail }
  } catch {
    // The response is not JSON.
  }
  return { detail: text.slice(0, 300) }
}

/** The header Retry-After in milliseconds: a number of seconds, or a date (RFC 9110, section 10.2.3). */
function retryAfterMsOf(header: string | null): number | undefined {
  if (header === null) return undefined
  const ms = /^\d+$/.test(header) ? 1000 * Number(header) : Date.parse(header) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}
