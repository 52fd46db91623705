// A run with few labelled examples: one sample of one task, with the score of each method. It is one line of the store.

import { type Static, Type } from 'typebox'
import { digestOf } from '../../src/formats/digest.js'
import { shortDigest } from './run.js'
import { appendLine, readLines } from './store.js'

/**
 * Counts the versions of training. Raise it when training changes its results: then runs of earlier versions are left
 * out of the page and are repeated.
 */
const learnerGeneration = 1

/** A number of rows for each label, or of rows in all. */
export interface SampleSize {
  readonly count: number
  readonly each: 'label' | 'all'
}

export const sizeText = ({ count, each }: SampleSize): string =>
  each === 'label' ? `${count} rows a label` : `${count} rows`

const names = Type.Array(Type.String())
const digests = Type.Record(Type.String(), Type.String())
const score = Type.Number({ minimum: 0, maximum: 1 })
const rows = Type.Integer({ minimum: 1 })
const seconds = Type.Number({ minimum: 0 })

/** What all samples of a call share. Digests are the first characters of a SHA-256. */
const setupSchema = Type.Object({
  /** Name of the directory of the backbone. */
  model: Type.String(),
  backbone: Type.String(),
  prototype: Type.String(),
  /** Tasks that the prototype was trained on. */
  learnedOn: names,
  /** The known masks that training may start from. */
  masks: digests,
  textPrefix: Type.String(),
  learner: Type.Integer({ minimum: 0 }),
})
export type Setup = Static<typeof setupSchema>

const fewShotLines = {
  format: 'propetl-few-shot/1',
  command: 'results few-shot',
  schema: Type.Object({
    format: Type.Literal('propetl-few-shot/1'),
    task: Type.String(),
    size: Type.Object({ count: rows, each: Type.Enum(['label', 'all']) }),
    sample: rows,
    trainRows: rows,
    testRows: rows,
    /** Scores are accuracies on rows that nothing was trained on. */
    learn: score,
    headAlone: score,
    mask: score,
    logisticRegression: score,
    /** The best epoch by the rows that it is scored on. */
    plainAdapter: Type.Optional(score),
    /** Name of the mask that the task file of learn started from, and the epoch that was kept. */
    start: Type.String(),
    epoch: Type.Integer({ minimum: 0 }),
    /** Expected calibration error of learn on the test rows. */
    calibrationError: score,
    /** Time of the command learn until it reports a head, if it does, and until it has written its file. */
    secondsToHead: Type.Optional(seconds),
    seconds,
    /** Time of all methods. */
    allSeconds: seconds,
    setup: setupSchema,
    /** The first characters of the SHA-256 of the setup. */
    version: Type.String(),
    /** Version of the program, for readers of the store. */
    program: Type.String(),
  }),
}
export type FewShotRun = Omit<Static<typeof fewShotLines.schema>, 'format'>

/** What identifies a run. */
export type RunKey = Pick<FewShotRun, 'task' | 'size' | 'sample' | 'version'>

export const keyOf = ({ task, size, sample, version }: RunKey): string =>
  JSON.stringify([version, task, size.count, size.each, sample])

export const setupOf = (setup: Omit<Setup, 'learner'>): Setup => ({ ...setup, learner: learnerGeneration })

export const versionOf = (setup: Setup): string => shortDigest(digestOf(Buffer.from(JSON.stringify(setup))))

/** All runs of a store, of which the last one of a key is valid. @throws Problem `unreadable_file`, `invalid_data` */
export async function readFewShot(store: string): Promise<readonly FewShotRun[]> {
  const runs = (await readLines(store, fewShotLines)).map(({ format: _, ...run }) => run)
  return Array.from(new Map(runs.map((run) => [keyOf(run), run])).values())
}

export const appendFewShot = (store: string, run: FewShotRun): Promise<void> => appendLine(store, fewShotLines, run)

/** Whether a mask was chosen by learn. @param bare the name of the start without a mask */
export const hasMask = ({ start, epoch }: Pick<FewShotRun, 'start' | 'epoch'>, bare: string): boolean =>
  epoch > 0 || start !== bare

/** A backbone with a prototype: one section of the page. */
export interface Section {
  readonly setup: Setup
  readonly runs: readonly FewShotRun[]
}

/** The runs of each backbone and prototype that have the version of its last run. Others are of an earlier version. */
export function sectionsOf(runs: readonly FewShotRun[]): readonly Section[] {
  const last = new Map(runs.map((run) => [`${run.setup.backbone} ${run.setup.prototype}`, run]))
  return Array.from(last.values(), ({ setup, version }) => ({
    setup,
    runs: runs.filter((run) => run.version === version && setup.learner === learnerGeneration),
  })).filter((section) => section.runs.length > 0)
}
