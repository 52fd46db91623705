// A run trains one method on one task, or on several tasks together, with one seed. A finished run is one line of the
// store.

import { Type } from 'typebox'
import { digestOf } from '../../src/formats/digest.js'
import { type ComparedMethod, comparedMethods, type Settings } from './compared-methods.js'

/** A run that is planned. */
export interface PlannedRun {
  readonly method: ComparedMethod
  readonly tasks: readonly string[]
  readonly seed: number
  readonly settings: Settings
}

/** The score of a task. */
export interface TaskScore {
  readonly task: string
  readonly metric: string
  readonly score: number
  readonly trainRows: number
  readonly devRows: number
}

/** The result of training. */
export interface Outcome {
  readonly scores: readonly TaskScore[]
  /** From 1; 0 if the initial tensors were best. */
  readonly bestEpoch: number
  readonly epochs: number
  readonly steps: number
  /** Bits that all tasks share, and that each task adds; without heads. */
  readonly storage: { readonly shared: number; readonly each: number }
  readonly backboneBits: number
}

export interface FinishedRun extends Outcome {
  readonly format: typeof runFormat
  readonly method: ComparedMethod
  readonly tasks: readonly string[]
  readonly seed: number
  /** Time of training and of the dev scores, without reading the data. */
  readonly seconds: number
  readonly settings: Readonly<Record<string, unknown>>
  /** The first characters of the SHA-256 of the settings. Runs of different versions are not compared. */
  readonly version: string
  readonly machine: string
}

/** The first field of every line of a store. */
export const runFormat = 'propetl-run/1'

const count = Type.Integer({ minimum: 0 })
const names = Type.Array(Type.String({ minLength: 1 }), { minItems: 1 })

/** A line of the store. */
export const runSchema = Type.Object({
  format: Type.Literal(runFormat),
  method: Type.Enum(comparedMethods),
  tasks: names,
  seed: count,
  scores: Type.Array(
    Type.Object({
      task: Type.String(),
      metric: Type.String(),
      score: Type.Number(),
      trainRows: count,
      devRows: count,
    }),
    { minItems: 1 },
  ),
  bestEpoch: count,
  epochs: count,
  steps: count,
  seconds: Type.Number({ minimum: 0 }),
  storage: Type.Object({ shared: count, each: count }),
  backboneBits: Type.Integer({ minimum: 1 }),
  settings: Type.Record(Type.String(), Type.Unknown()),
  version: Type.String({ minLength: 1 }),
  machine: Type.String(),
})

export const versionOf = (settings: Settings): string => shortDigest(digestOf(Buffer.from(JSON.stringify(settings))))

/** Enough of a SHA-256 to distinguish a few of them. */
export const shortDigest = (digest: string): string => digest.slice(0, 12)

/** Identifies a run: equal for a planned run and for the finished run that it would repeat. */
export const keyOf = (run: PlannedRun | FinishedRun): string =>
  JSON.stringify([run.method, run.tasks.toSorted(), run.seed, 'version' in run ? run.version : versionOf(run.settings)])
