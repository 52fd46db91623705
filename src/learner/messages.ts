// What the server asks a learner for, and what the learner reports. A learner is a child process that trains one task. Its
// messages are lines of JSON; the server checks each of them, because it never trusts the bytes of another process.

import { type Static, type TSchema, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import type { Metric } from '../learn/metrics.js'
import { type ProblemType, problemTypes } from '../petl/task.js'

export interface LearnerRequest {
  /** Hugging Face directory of the backbone. */
  readonly directory: string
  /** Without a prototype, tasks are heads without a mask. */
  readonly prototypeFile?: string | undefined
  /** Task files whose masks training may start from. */
  readonly masksDir: string
  /** The examples as JSON Lines. Messages call the file by its name without the folder. */
  readonly data: string
  /** A file with the numbers of those lines of `data` that the active task was not trained on, one number per line. */
  readonly newLines?: string | undefined
  /** The active task file, which is scored on those examples. */
  readonly active?: string | undefined
  /** An existing folder for the task files. The caller removes it. */
  readonly out: string
  readonly options: LearnerOptions
  /** CPU threads that compute. */
  readonly threads: number
  /** The learner is killed when it uses more memory. */
  readonly memoryBytes: number
}

export interface LearnerOptions {
  /** By default the labels decide. */
  readonly problemType?: ProblemType | undefined
  /** By default the problem type decides. */
  readonly metric?: Metric | undefined
  /** Most seconds from the start of the learner to its end. It keeps to it approximately. */
  readonly timeBudgetS?: number | undefined
  readonly seed: number
  /** Tokens to which longer texts are cut. */
  readonly maxLength?: number | undefined
  /** Put before every text. */
  readonly textPrefix?: string | undefined
}

/** What a learner does, in this order. `training` does not occur if there is no mask to train. */
export const learnerPhases = ['reading', 'head', 'comparing', 'training', 'evaluating'] as const
export type LearnerPhase = (typeof learnerPhases)[number]

/** Bounds of what a learner reports, so that a report is at most 256 KiB. */
export const reportLimits = {
  bytes: 256 * 1024,
  labels: 200,
  confusions: 100,
  matrixLabels: 30,
  curve: 500,
  epochs: 1_000,
  warnings: 50,
  warningLength: 1_000,
  /** Longest label in a report; longer ones are cut. */
  labelLength: 200,
  wrong: 1_000,
} as const

/** Bound of a message in bytes: `done` has the report and the wrong predictions. */
export const maxMessageBytes = 1024 * 1024

/** Descriptors of the learner: for its messages, and one that ends when the server does. */
export const messagesFd = 3
export const lifelineFd = 4

/** The task files in the folder `out`: the head alone, and the final task. */
export const taskFileNames = { head: 'head.safetensors', done: 'task.safetensors' } as const

const { labelLength } = reportLimits
/** JSON has no NaN and no infinity, so every number is finite. */
const number = Type.Number()
const count = Type.Integer({ minimum: 0 })
const share = Type.Number({ minimum: 0, maximum: 1 })
const label = Type.String({ maxLength: labelLength + 1 })
const text = Type.String({ maxLength: 4_000 })
const name = Type.String({ maxLength: 64 })
const listOf = <S extends TSchema>(items: S, maxItems: number) => Type.Array(items, { maxItems })
const problemType = Type.Enum([...problemTypes])
const phase = Type.Enum([...learnerPhases])
/** 95 % confidence. */
const interval = Type.Tuple([number, number])

const reportSchema = Type.Object({
  problem_type: problemType,
  metric: name,
  /** Examples that were used, and those of them that scores are of. */
  examples: count,
  held_out: count,
  /** Folds of a cross-validation; 1 for a dev part. */
  folds: count,
  /** Expected calibration error, cross-fitted. */
  calibration_error: Type.Optional(number),
  /** Score of a head without a mask on the same examples. */
  head_only: Type.Optional(number),
  /** What the labels count: texts, words, or entities. */
  label_unit: Type.Optional(Type.Enum(['examples', 'words', 'entities'])),
  /** The most frequent ones if there are more. */
  labels: Type.Optional(
    listOf(Type.Object({ label, precision: share, recall: share, f1: share, support: count }), reportLimits.labels),
  ),
  /** The most frequent first. */
  confusions: listOf(Type.Object({ expected: label, predicted: label, count }), reportLimits.confusions),
  /** [expected][predicted] of the labels that are confused most. */
  matrix: Type.Optional(
    Type.Object({
      labels: listOf(label, reportLimits.matrixLabels),
      counts: listOf(listOf(count, reportLimits.matrixLabels), reportLimits.matrixLabels),
    }),
  ),
  reliability: Type.Optional(
    listOf(Type.Object({ low: share, high: share, confidence: share, accuracy: share, count }), 100),
  ),
  /** Smoothed loss of the training examples. */
  curve: listOf(Type.Object({ step: count, loss: number }), reportLimits.curve),
  /** Loss of the held-out examples; epoch 0 is the starting point. */
  epochs: listOf(Type.Object({ epoch: count, held_out_loss: number }), reportLimits.epochs),
  warnings: listOf(Type.String({ maxLength: reportLimits.warningLength + 1 }), reportLimits.warnings),
  seconds: number,
})

const phaseSchema = Type.Object({ kind: Type.Literal('phase'), phase })

const progressSchema = Type.Object({
  kind: Type.Literal('progress'),
  phase,
  /** Share of the whole work that is done. It never falls. */
  done: share,
  /** Estimate for the whole work; absent until there is one. */
  secondsLeft: Type.Optional(Type.Number({ minimum: 0 })),
  /** Steps of training so far, of those that are planned. */
  step: Type.Optional(count),
  steps: Type.Optional(count),
  /** Smoothed loss of the training examples. */
  loss: Type.Optional(number),
  /** Loss of the held-out examples after the last epoch. */
  heldOutLoss: Type.Optional(number),
  /** Epochs whose held-out loss is known. */
  epoch: Type.Optional(count),
})

const dataSchema = Type.Object({
  kind: Type.Literal('data'),
  problemType,
  /** The first ones if there are more than a report has. */
  labels: listOf(label, reportLimits.labels),
  labelCount: count,
  examples: count,
  heldOut: count,
  folds: count,
  warnings: reportSchema.properties.warnings,
})

const headSchema = Type.Object({
  kind: Type.Literal('head'),
  metric: name,
  score: number,
  interval: Type.Optional(interval),
  heldOut: count,
})

const doneSchema = Type.Object({
  kind: Type.Literal('done'),
  /** Whether the task is the head alone, so that its file is that of the event `head`. */
  isHead: Type.Boolean(),
  metric: name,
  /** Whether a higher score is a better one. */
  higherIsBetter: Type.Boolean(),
  score: number,
  interval: Type.Optional(interval),
  scores: listOf(
    Type.Object({ metric: name, value: number, low: Type.Optional(number), high: Type.Optional(number) }),
    32,
  ),
  report: reportSchema,
  /** How the active task does. */
  activeScore: Type.Optional(
    Type.Object({
      score: number,
      /** That of the new task on the same examples. */
      newScore: number,
      examples: count,
      /** On held-out examples that the active task was not trained on, or as its file says. */
      measured: Type.Enum(['unseen', 'recorded']),
    }),
  ),
  /** Held-out examples that the new task predicts wrongly, the surest first. */
  wrong: listOf(
    Type.Object({
      /** Of the data file, from 1. */
      line: count,
      /** A label; the labels that apply, or those of the words; or a number. */
      predicted: Type.Union([label, number, listOf(label, 10_000)]),
      /** How sure the task is; for numbers, the distance from the label. */
      score: number,
    }),
    reportLimits.wrong,
  ),
})

const failedSchema = Type.Object({ kind: Type.Literal('failed'), code: name, message: text })

const messageSchema = Type.Union([phaseSchema, progressSchema, dataSchema, headSchema, doneSchema, failedSchema])

export type LearnReport = Static<typeof reportSchema>
export type LearnerProgress = Static<typeof progressSchema>
export type LearnerData = Static<typeof dataSchema>
/** The data or an option is at fault: another try would fail, too. */
export type LearnerFailure = Static<typeof failedSchema>
export type LearnerMessage = Static<typeof messageSchema>

/** Adds where a complete, calibrated task file is. */
type WithFile<T> = T & { readonly file: string }
export type LearnerHead = WithFile<Static<typeof headSchema>>
export type LearnerDone = WithFile<Static<typeof doneSchema>>

/** What the caller of a learner hears while it runs. */
export type LearnerEvent = Static<typeof phaseSchema> | LearnerProgress | LearnerData | LearnerHead

/** How a learner ended. */
export type LearnerResult =
  | LearnerDone
  | LearnerFailure
  /** It died or hung. Another try may succeed. `log` is for the operator. */
  | { readonly kind: 'crashed'; readonly message: string; readonly log: string }
  | { readonly kind: 'out_of_memory'; readonly message: string; readonly log: string }
  /** The signal was aborted. */
  | { readonly kind: 'cancelled' }

const validator = Compile(messageSchema)

/** @returns undefined if the line is no message */
export function readMessage(line: string): LearnerMessage | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return validator.Check(value) ? (value as LearnerMessage) : undefined
  } catch {
    return undefined
  }
}
