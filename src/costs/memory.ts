// How much memory the process may take, and how it is divided. The container's limit counts where there is one (cgroup v1
// and v2, as Node reads them). What is not divided here is for the model, the engines, connections and the heap.

import { totalmem } from 'node:os'
import { flagOf } from '../config.js'
import { Problem } from '../problem.js'
import { Pool } from './pool.js'

export interface MemorySettings {
  readonly memoryBytes: number | 'auto'
  readonly cacheBytes: number | 'auto'
  readonly maxUploadBytes: number
  readonly maxBodyBytes: number
  readonly maxAnswerBytes: number
}

export interface MemoryLimit {
  readonly bytes: number
  readonly source: 'setting' | 'container' | 'machine'
}

/** What each use of memory may take at one time, in bytes. */
export interface MemoryShares {
  /** Tasks that were used lately. */
  readonly cache: number
  /** Tasks that requests use at this moment. */
  readonly tasks: number
  /** Bodies of requests, from their first byte until the request ends. */
  readonly bodies: number
  /** Texts while they are tokenised. */
  readonly texts: number
  /** Answers that are being made or sent. */
  readonly answers: number
}

export type MemoryUse = keyof MemoryShares

const MiB = 1024 * 1024
/** Shares of the limit, and the most that is of use. */
const shares: Readonly<Record<MemoryUse, { readonly share: number; readonly most: number }>> = {
  cache: { share: 1 / 16, most: 1024 * MiB },
  tasks: { share: 1 / 16, most: 1024 * MiB },
  bodies: { share: 1 / 16, most: 1024 * MiB },
  texts: { share: 1 / 64, most: 64 * MiB },
  answers: { share: 1 / 32, most: 1024 * MiB },
}

/** Copies of a body that a request holds: its bytes, and what is made of them. */
export const bodyFactor = { json: 4, file: 2 } as const
/** An answer is held as values and as text. */
export const answerFactor = 3
/** What a tokenizer takes for a character that is being tokenised, in bytes. */
export const bytesPerCharacter = 600

/** The limit of this process. */
export function memoryLimit(setting: number | 'auto'): MemoryLimit {
  if (setting !== 'auto') return { bytes: setting, source: 'setting' }
  const machine = totalmem()
  // 0, or a number beyond all memory, where there is no limit.
  const constrained = process.constrainedMemory()
  return constrained > 0 && constrained < machine
    ? { bytes: constrained, source: 'container' }
    : { bytes: machine, source: 'machine' }
}

/**
 * Divides the limit.
 * @throws Problem `invalid_setting` if the largest requests that the settings allow do not fit into half of it
 */
export function divideMemory({ bytes: limit }: MemoryLimit, settings: MemorySettings): MemoryShares {
  const shareOf = (use: MemoryUse) => Math.min(Math.floor(limit * shares[use].share), shares[use].most)
  // A pool gives half of itself to one owner: the largest request has to fit into that.
  const largestBody = Math.max(bodyFactor.file * settings.maxUploadBytes, bodyFactor.json * settings.maxBodyBytes)
  const divided: MemoryShares = {
    cache: settings.cacheBytes === 'auto' ? shareOf('cache') : settings.cacheBytes,
    tasks: Math.max(shareOf('tasks'), 2 * bodyFactor.file * settings.maxUploadBytes),
    bodies: Math.max(shareOf('bodies'), 2 * largestBody),
    texts: shareOf('texts'),
    answers: Math.max(shareOf('answers'), 2 * answerFactor * settings.maxAnswerBytes),
  }
  const sum = Object.values(divided).reduce((a: number, b: number) => a + b, 0)
  if (sum > limit / 2) {
    const names = (['maxUploadBytes', 'maxBodyBytes', 'maxAnswerBytes', 'cacheBytes'] as const).map(flagOf)
    throw new Problem(
      'invalid_setting',
      `with ${limit} bytes of memory at most half may be taken by requests and the cache, but the settings ask for ${sum}; ` +
        `lower one of ${names.join(', ')}, or give ${flagOf('memoryBytes')}`,
    )
  }
  return divided
}

/** The pools that requests take from. The cache bounds itself. */
export type MemoryPools = Readonly<Record<'tasks' | 'bodies' | 'answers', Pool>>

export const poolsOf = ({ tasks, bodies, answers }: MemoryShares): MemoryPools => ({
  tasks: new Pool('tasks in use', tasks),
  bodies: new Pool('bodies of requests', bodies),
  answers: new Pool('answers', answers),
})
