// The memory limit of the process, and its division into shares. In a container the limit is that of the container (cgroup v1
// and v2, as Node reads them). The rest is for the model, the engines, connections and the heap.

import { totalmem } from 'node:os'
import { Problem } from '../problem.js'
import { flagOf } from '../settings.js'
import { Pool } from './pool.js'

export interface MemorySettings {
  readonly memoryBytes: number | 'auto'
  readonly cacheBytes: number | 'auto'
  readonly maxUploadBytes: number
  readonly maxBodyBytes: number
  readonly maxAnswerBytes: number
}

export interface LearningSettings {
  readonly learningJobs: number
  readonly learningMemoryBytes: number | 'auto'
}

export interface MemoryLimit {
  readonly bytes: number
  readonly source: 'setting' | 'container' | 'machine'
}

/** The most memory of each use at one time, in bytes. */
export interface MemoryShares {
  /** Recently used tasks. */
  readonly cache: number
  /** Tasks of current requests. */
  readonly tasks: number
  /** Request bodies, from their first byte until the request ends. */
  readonly bodies: number
  /** Texts while they are tokenised. */
  readonly texts: number
  /** Responses while they are built or sent. */
  readonly answers: number
}

export type MemoryUse = keyof MemoryShares

const MiB = 1024 * 1024
/** Shares of the limit, and their upper bounds. */
const shares: Readonly<Record<MemoryUse, { readonly share: number; readonly most: number }>> = {
  cache: { share: 1 / 16, most: 1024 * MiB },
  tasks: { share: 1 / 16, most: 1024 * MiB },
  bodies: { share: 1 / 16, most: 1024 * MiB },
  texts: { share: 1 / 64, most: 64 * MiB },
  answers: { share: 1 / 32, most: 1024 * MiB },
}

/** Memory of a request body relative to its bytes: the bytes, and the values that are parsed from them. */
export const bodyFactor = { json: 4, file: 2 } as const
/** Memory of a response relative to its bytes: the values, and their JSON text. */
export const answerFactor = 3
/** Memory that the tokenizer needs per character, in bytes. */
export const bytesPerCharacter = 600

/** The limit of this process. */
export function memoryLimit(setting: number | 'auto'): MemoryLimit {
  if (setting !== 'auto') return { bytes: setting, source: 'setting' }
  const machine = totalmem()
  // Without a limit it is 0, or a number larger than the machine's memory.
  const constrained = process.constrainedMemory()
  return constrained > 0 && constrained < machine
    ? { bytes: constrained, source: 'container' }
    : { bytes: machine, source: 'machine' }
}

/**
 * Divides the limit among the uses, and each share among the processes of the server. The shares that the settings require are
 * required of each process.
 * @throws Problem `invalid_setting` if the shares that the settings require do not fit into half of the limit
 */
export function divideMemory({ bytes: limit }: MemoryLimit, settings: MemorySettings, processes = 1): MemoryShares {
  const shareOf = (use: MemoryUse) => Math.floor(Math.min(limit * shares[use].share, shares[use].most) / processes)
  // A pool gives one owner at most half of itself, so the largest request has to fit into half.
  const largestBody = Math.max(bodyFactor.file * settings.maxUploadBytes, bodyFactor.json * settings.maxBodyBytes)
  const divided: MemoryShares = {
    cache: settings.cacheBytes === 'auto' ? shareOf('cache') : Math.floor(settings.cacheBytes / processes),
    tasks: Math.max(shareOf('tasks'), 2 * bodyFactor.file * settings.maxUploadBytes),
    bodies: Math.max(shareOf('bodies'), 2 * largestBody),
    texts: shareOf('texts'),
    answers: Math.max(shareOf('answers'), 2 * answerFactor * settings.maxAnswerBytes),
  }
  const sum = processes * Object.values(divided).reduce((a: number, b: number) => a + b, 0)
  if (sum > limit / 2) {
    const several = processes > 1
    const names = (['maxUploadBytes', 'maxBodyBytes', 'maxAnswerBytes', 'cacheBytes'] as const).map(flagOf)
    const lowered = several ? [flagOf('httpWorkers'), ...names] : names
    throw new Problem(
      'invalid_setting',
      `the settings reserve ${sum} bytes for requests and the cache${several ? ` of ${processes} processes` : ''}; with ` +
        `${limit} bytes of memory at most half of them may be reserved. Lower one of ${lowered.join(', ')}, or raise ${flagOf('memoryBytes')}`,
    )
  }
  return divided
}

/** Share of the limit that the processes which train tasks may use together. */
const learningShare = 1 / 4
/** What some hundred short texts need with a small model, in bytes. It is given if it is at most half of the limit. */
const usualLearning = 1024 ** 3
/** Share of the limit that everything may use that is reserved. The rest is for the model, the engines and the heap. */
const reservedShare = 3 / 4

/** Memory of the processes that train tasks, in bytes. */
export interface LearningMemory {
  /** Of one job; 0 if learning is off. */
  readonly perJob: number
  readonly all: number
}

/**
 * The memory for learning. It is apart from the shares of requests.
 * @param reserved by the shares of all processes
 * @throws Problem `invalid_setting` if it does not fit into the limit with them
 */
export function learningMemory(
  { bytes: limit }: MemoryLimit,
  { learningJobs: jobs, learningMemoryBytes: setting }: LearningSettings,
  reserved: number,
): LearningMemory {
  if (jobs === 0) return { perJob: 0, all: 0 }
  const room = reservedShare * limit - reserved
  const automatic = Math.min(Math.max(learningShare * limit, usualLearning <= limit / 2 ? usualLearning : 0), room)
  const perJob = setting === 'auto' ? Math.max(0, Math.floor(automatic / jobs)) : setting
  const all = jobs * perJob
  if (all > Math.max(0, room))
    throw new Problem(
      'invalid_setting',
      `the settings reserve ${all} bytes for learning and ${reserved} for requests and the cache; with ${limit} bytes of ` +
        `memory at most three quarters of them may be reserved. Lower ${flagOf('learningMemoryBytes')} or ` +
        `${flagOf('learningJobs')}, or raise ${flagOf('memoryBytes')}`,
    )
  return { perJob, all }
}

/** The pools that requests take memory from. The cache has its own bound. */
export type MemoryPools = Readonly<Record<'tasks' | 'bodies' | 'answers', Pool>>

export const poolsOf = ({ tasks, bodies, answers }: MemoryShares): MemoryPools => ({
  tasks: new Pool('tasks in use', tasks),
  bodies: new Pool('request bodies', bodies),
  answers: new Pool('responses', answers),
})
