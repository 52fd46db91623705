// The client of the soak benchmark. Each request states which outcomes are expected; the client counts outcomes by kind
// of request, and keeps examples of unexpected and wrong responses.

import { digestOf } from '../../src/formats/digest.js'
import { bundledTasks, mixedTexts, type TaskText, taskFileBytes, withShiftedBias } from '../support/material.js'
import { inputOf } from '../support/requests.js'

export interface Tally {
  /** Number of responses by kind of request and outcome: `200`, `404 unknown_task` or `aborted`. */
  readonly outcomes: Record<string, Record<string, number>>
  /** Responses whose outcome was not expected. */
  readonly unexpected: number
  /** Responses whose content was wrong. */
  readonly wrong: number
  /** The first unexpected and wrong responses. */
  readonly examples: readonly string[]
}

export interface SoakRequest {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  /** Other objects than bytes and forms are sent as JSON. */
  readonly body?: string | Uint8Array<ArrayBuffer> | FormData | object
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

export interface SoakResponse {
  readonly status: number
  readonly outcome: string
  readonly body: unknown
}

const examplesKept = 20

export class Counts {
  readonly outcomes: Record<string, Record<string, number>> = {}
  unexpected = 0
  wrong = 0
  readonly examples: string[] = []

  count(kind: string, outcome: string): void {
    this.outcomes[kind] ??= {}
    const counts = this.outcomes[kind]
    counts[outcome] = (counts[outcome] ?? 0) + 1
  }

  expect(kind: string, expected: readonly string[], outcome: string, detail: unknown): void {
    if (expected.includes(outcome)) return
    this.unexpected++
    this.#addExample(`${kind}: ${outcome}, expected ${expected.join(' or ')}: ${JSON.stringify(detail)}`)
  }

  countWrong(kind: string, detail: string): void {
    this.wrong++
    this.#addExample(`${kind}: ${detail}`)
  }

  #addExample(text: string): void {
    if (this.examples.length < examplesKept) this.examples.push(text.slice(0, 500))
  }
}

export class SoakClient {
  constructor(
    readonly url: string,
    readonly counts: Counts,
    readonly key?: string,
  ) {}

  /** Sends a request and counts its outcome under `kind`. */
  async request(kind: string, expected: readonly string[], request: SoakRequest): Promise<SoakResponse> {
    const response = await this.#send(request)
    this.counts.count(kind, response.outcome)
    this.counts.expect(kind, expected, response.outcome, response.body)
    return response
  }

  async #send({ method, path, body, headers, signal }: SoakRequest): Promise<SoakResponse> {
    const [type, sent] = bodyOf(body)
    try {
      const response = await fetch(this.url + path, {
        method: method ?? (body === undefined ? 'GET' : 'POST'),
        headers: {
          ...(type !== undefined && { 'content-type': type }),
          ...(this.key !== undefined && { authorization: `Bearer ${this.key}` }),
          ...headers,
        },
        ...(sent !== undefined && { body: sent }),
        ...(signal && { signal }),
      })
      const text = await response.text()
      const json = text !== '' && /\bjson\b/.test(response.headers.get('content-type') ?? '')
      const content: unknown = json ? JSON.parse(text) : undefined
      const { status } = response
      const outcome = status < 400 ? String(status) : `${status} ${(content as { code?: string } | undefined)?.code}`
      return { status, outcome, body: content }
    } catch (error) {
      if (signal?.aborted) return { status: 0, outcome: 'aborted', body: undefined }
      const { message, cause } = error as Error
      return { status: 0, outcome: 'no response', body: `${message}: ${(cause as Error | undefined)?.message}` }
    }
  }
}

function bodyOf(
  body: SoakRequest['body'],
): [type: string | undefined, sent: string | Uint8Array<ArrayBuffer> | FormData | undefined] {
  if (body === undefined || body instanceof FormData) return [undefined, body]
  if (body instanceof Uint8Array) return ['application/octet-stream', body]
  return ['application/json', typeof body === 'string' ? body : JSON.stringify(body)]
}

/** A bundled task's file with `shift` added to its logits, so that its predictions identify this version. */
export interface Upload {
  readonly id: string
  readonly bundled: string
  readonly shift: number
  readonly file: Uint8Array<ArrayBuffer>
  readonly version: string
}

const files = new Map(bundledTasks.map((task) => [task, taskFileBytes(task)]))
const textsOf = new Map<string, TaskText[]>()
for (const text of mixedTexts()) textsOf.set(text.task, [...(textsOf.get(text.task) ?? []), text])

export const randomOf = <T>(list: readonly T[]): T => {
  const one = list[Math.floor(Math.random() * list.length)]
  if (one === undefined) throw new Error('randomOf needs a list that is not empty')
  return one
}

export const anyBundled = (): string => randomOf(bundledTasks)

/** @param count a number that no other upload of the run has */
export function newUpload(id: string, count: number): Upload {
  const bundled = anyBundled()
  const shift = 1 + count / 1024
  const file = withShiftedBias(files.get(bundled) ?? new Uint8Array(), shift)
  return { id, bundled, shift, file, version: digestOf(file) }
}

/** A random text of a bundled task, or a pair of texts, as an input. */
export function anyInput(bundled: string): { readonly text: string; readonly text_pair?: string } {
  return inputOf(randomOf(textsOf.get(bundled) ?? []))
}

interface Prediction {
  readonly version: string
  readonly score: number
  readonly scores?: readonly { readonly score: number }[]
}

/** Requests predictions of uploads and of their bundled tasks for the same texts. They must differ by the shifts. */
export async function checkUpload(
  client: SoakClient,
  kind: string,
  uploads: readonly Upload[],
  tolerance: number,
): Promise<void> {
  const inputs = uploads.flatMap(({ id, bundled }) => {
    const input = anyInput(bundled)
    return [
      { task: bundled, ...input },
      { task: id, ...input },
    ]
  })
  const { status, body } = await client.request(kind, ['200'], { path: '/predict', body: { inputs, raw_scores: true } })
  if (status !== 200) return
  const { predictions } = body as { predictions: readonly Prediction[] }
  for (const [index, { id, shift, version }] of uploads.entries()) {
    const [base, shifted] = [predictions[2 * index], predictions[2 * index + 1]]
    const difference = firstScore(shifted) - firstScore(base)
    if (shifted?.version !== version)
      client.counts.countWrong(kind, `${id} has version ${shifted?.version}; expected ${version}`)
    if (!(Math.abs(difference - shift) <= tolerance))
      client.counts.countWrong(kind, `${id} is shifted by ${difference}; expected ${shift}`)
  }
}

const firstScore = (prediction: Prediction | undefined): number =>
  prediction?.scores?.[0]?.score ?? prediction?.score ?? Number.NaN
