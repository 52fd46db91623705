// What a soak asks a server, and a tally of what came back: by what was asked, status and problem code. What an answer
// may be is said with each request; whatever else comes is unexpected.

import { digestOf } from '../../src/formats/digest.js'
import { bundledTasks, mixedTexts, type TaskText, taskFileBytes, withShiftedBias } from '../support/material.js'
import { inputOf } from '../support/requests.js'

export interface Tally {
  /** Answers by what was asked, and by what came: `200`, `404 unknown_task`, or `left`. */
  readonly outcomes: Record<string, Record<string, number>>
  readonly unexpected: number
  readonly wrong: number
  /** The first of those that are unexpected or wrong. */
  readonly examples: readonly string[]
}

export interface Question {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  /** Sent as it is; what is no text or bytes is sent as JSON. */
  readonly body?: string | Uint8Array<ArrayBuffer> | FormData | object
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

export interface Answer {
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

  count(what: string, outcome: string): void {
    this.outcomes[what] ??= {}
    const of = this.outcomes[what]
    of[outcome] = (of[outcome] ?? 0) + 1
  }

  expect(what: string, expected: readonly string[], outcome: string, detail: unknown): void {
    if (expected.includes(outcome)) return
    this.unexpected++
    this.#example(`${what}: ${outcome}, expected ${expected.join(' or ')}: ${JSON.stringify(detail)}`)
  }

  /** An answer that came, and says what is not so. */
  contradict(what: string, detail: string): void {
    this.wrong++
    this.#example(`${what}: ${detail}`)
  }

  #example(text: string): void {
    if (this.examples.length < examplesKept) this.examples.push(text.slice(0, 500))
  }
}

export class SoakClient {
  constructor(
    readonly url: string,
    readonly counts: Counts,
    readonly key?: string,
  ) {}

  /** Asks, counts what came under `what`, and holds it against what may come. */
  async ask(what: string, expected: readonly string[], question: Question): Promise<Answer> {
    const answer = await this.#send(question)
    this.counts.count(what, answer.outcome)
    this.counts.expect(what, expected, answer.outcome, answer.body)
    return answer
  }

  async #send({ method, path, body, headers, signal }: Question): Promise<Answer> {
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
      const answered: unknown = json ? JSON.parse(text) : undefined
      const { status } = response
      const outcome = status < 400 ? String(status) : `${status} ${(answered as { code?: string } | undefined)?.code}`
      return { status, outcome, body: answered }
    } catch (error) {
      if (signal?.aborted) return { status: 0, outcome: 'left', body: undefined }
      const { message, cause } = error as Error
      return { status: 0, outcome: 'no answer', body: `${message}: ${(cause as Error | undefined)?.message}` }
    }
  }
}

function bodyOf(
  body: Question['body'],
): [type: string | undefined, sent: string | Uint8Array<ArrayBuffer> | FormData | undefined] {
  if (body === undefined || body instanceof FormData) return [undefined, body]
  if (body instanceof Uint8Array) return ['application/octet-stream', body]
  return ['application/json', typeof body === 'string' ? body : JSON.stringify(body)]
}

/** An upload: a bundled task's file, its logits moved by so much. Its version is told from every other's by what it answers. */
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

export const any = <T>(list: readonly T[]): T => {
  const one = list[Math.floor(Math.random() * list.length)]
  if (one === undefined) throw new Error('there is nothing to choose from')
  return one
}

export const anyBundled = (): string => any(bundledTasks)

/** @param count no two uploads of a run have the same */
export function newUpload(id: string, count: number): Upload {
  const bundled = anyBundled()
  const shift = 1 + count / 1024
  const file = withShiftedBias(files.get(bundled) ?? new Uint8Array(), shift)
  return { id, bundled, shift, file, version: digestOf(file) }
}

/** A text of a bundled task, or a pair where the task reads pairs, as an input. */
export function anyInput(bundled: string): { readonly text: string; readonly text_pair?: string } {
  return inputOf(any(textsOf.get(bundled) ?? []))
}

interface Prediction {
  readonly version: string
  readonly score: number
  readonly scores?: readonly { readonly score: number }[]
}

/** Asks an upload and the task that it was made of for the same text, in one request: it must answer as that, moved. */
export async function checkUpload(
  client: SoakClient,
  what: string,
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
  const { status, body } = await client.ask(what, ['200'], { path: '/predict', body: { inputs, raw_scores: true } })
  if (status !== 200) return
  const { predictions } = body as { predictions: readonly Prediction[] }
  for (const [index, { id, shift, version }] of uploads.entries()) {
    const [of, moved] = [predictions[2 * index], predictions[2 * index + 1]]
    const by = firstScore(moved) - firstScore(of)
    if (moved?.version !== version) client.counts.contradict(what, `${id} is at ${moved?.version}; expected ${version}`)
    if (!(Math.abs(by - shift) <= tolerance))
      client.counts.contradict(what, `${id} is moved by ${by}; expected ${shift}`)
  }
}

const firstScore = (prediction: Prediction | undefined): number =>
  prediction?.scores?.[0]?.score ?? prediction?.score ?? Number.NaN
