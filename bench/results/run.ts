// A run: one method on one task, or on a set of tasks together, with one seed; and what came of it, as a line of the
// store holds it.

import { Type } from 'typebox'
import { digestOf } from '../../src/formats/digest.js'
import { type ComparedMethod, comparedMethods, type Settings } from './compared-methods.js'

/** A run that is wanted. */
export interface PlannedRun {
  readonly method: ComparedMethod
  readonly tasks: readonly string[]
  readonly seed: number
  readonly settings: Settings
}

/** What a task reached. */
export interface TaskScore {
  readonly task: string
  readonly metric: string
  readonly score: number
  readonly trainRows: number
  readonly devRows: number
}

/** What learning gave. */
export interface Outcome {
  readonly scores: readonly TaskScore[]
  /** From 1; 0 if the beginning was best. */
  readonly bestEpoch: number
  readonly epochs: number
  readonly steps: number
  /** Bits that all tasks share, and that each adds. Heads are not counted. */
  readonly storage: { readonly shared: number; readonly each: number }
  readonly backboneBits: number
}

export interface FinishedRun extends Outcome {
  readonly format: typeof runFormat
  readonly method: ComparedMethod
  readonly tasks: readonly string[]
  readonly seed: number
  /** Of learning with its dev scores, without reading the data. */
  readonly seconds: number
  readonly settings: Readonly<Record<string, unknown>>
  /** The start of the SHA-256 of the settings: runs of different versions are not compared. */
  readonly version: string
  readonly machine: string
}

/** What every line of a store says first. */
export const runFormat = 'propetl-run/1'

const count = Type.Integer({ minimum: 0 })
const names = Type.Array(Type.String({ minLength: 1 }), { minItems: 1 })

/** A line of the store. */
export const runSchema = Type.Object({
  format: Type.Literal(runFormat),
  method: Type.Union(comparedMethods.map((method) => Type.Literal(method))),
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

/** Enough of a SHA-256 to tell a few of them apart. */
export const shortDigest = (digest: string): string => digest.slice(0, 12)

/** The same for a wanted run and for the finished one that it would repeat. */
export const keyOf = (run: PlannedRun | FinishedRun): string =>
  JSON.stringify([run.method, run.tasks.toSorted(), run.seed, 'version' in run ? run.version : versionOf(run.settings)])
