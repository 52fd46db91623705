// A task as a value: a mask over the prototype's weights and, except for feature extraction, a small head. A task without
// a mask is a head on the bare backbone. task-file.ts reads and writes the file.

import type { Pooling } from '../backbones/pooling.js'
import type { TextForm } from '../backbones/tokenizer.js'
import type { WordRule } from '../formats/word-rule.js'

export const problemTypes = [
  'single_label_classification',
  'multi_label_classification',
  'regression',
  'token_classification',
  'feature_extraction',
] as const
export type ProblemType = (typeof problemTypes)[number]

export { type Pooling, poolings } from '../backbones/pooling.js'

/** How a task's mask is combined with the prototype's layer masks (paper, section 3.3). */
export const combinings = ['or', 'and', 'add', 'none'] as const
export type Combining = (typeof combinings)[number]

export const headActivationNames = ['tanh', 'relu', 'none'] as const
export type HeadActivation = (typeof headActivationNames)[number]

/** y = weight · x + bias. The weight is [outputs, inputs], row-major. */
export interface Linear {
  readonly inputs: number
  readonly outputs: number
  readonly weight: Float32Array
  readonly bias: Float32Array
}

/** A linear layer with an activation. */
export interface DenseLayer extends Linear {
  readonly activation: HeadActivation
}

/** A linear layer on the pooled vector, or on a dense layer over it. */
export interface Head {
  readonly dense?: DenseLayer
  readonly output: Linear
}

export interface TaskMask {
  /** 1 if all layers of the encoder share one mask, otherwise the number of layers. */
  readonly layers: number
  /** Weights that one mask layer covers. A file of packed bits gives it only as a multiple of 8. */
  readonly weights: number
  /** Whether `weights` is exact: true for a BOOL tensor, false for packed bits. */
  readonly exact: boolean
  /** [layers, ⌈weights/8⌉] bytes. Bit i of a mask layer is bit i & 7 of byte i >> 3. */
  readonly bits: Uint8Array
}

/** The fields that depend on the problem type. */
export type ProblemFields =
  | {
      readonly problemType: 'single_label_classification'
      readonly head: Head
      /** The predicted label is the one whose probability is largest relative to its threshold. By default all are equal. */
      readonly thresholds?: Float32Array
    }
  | {
      readonly problemType: 'multi_label_classification'
      readonly head: Head
      /** A label applies if its probability is at least its threshold. */
      readonly thresholds: Thresholds
    }
  | {
      readonly problemType: 'regression'
      readonly head: Head
      /** Added to the output of the head. It keeps the precision of large numbers, which float32 weights do not have. */
      readonly offset: number
    }
  | {
      readonly problemType: 'token_classification'
      readonly head: Head
    }
  | {
      readonly problemType: 'feature_extraction'
      readonly head?: undefined
      /** A layer on the pooled vector, if the vector of the task is not the pooled vector itself. */
      readonly projection?: DenseLayer
      /** Whether vectors are scaled to an L2 norm of 1. */
      readonly normalize: boolean
    }

/** A mask over the prototype's weights. */
export interface MaskFields {
  /** SHA-256 of the prototype that the mask was trained on. */
  readonly prototype: string
  readonly combine: Combining
  readonly mask: TaskMask
  readonly backbone?: undefined
}

/** No mask: the task reads the vectors of the bare backbone, and depends on no prototype. */
export interface BareFields {
  /** SHA-256 of the weights of the backbone. */
  readonly backbone: string
  readonly prototype?: undefined
  readonly combine?: undefined
  readonly mask?: undefined
}

/** What a task predicts for: single texts, or pairs of texts that are encoded together. */
export const inputKinds = ['text', 'pair'] as const
export type InputKind = (typeof inputKinds)[number]

/** How texts become the tokens that a task was trained on. */
export interface TextFields extends TextForm {
  /** Absent: both, if the problem type takes pairs. */
  readonly inputs?: InputKind
}

/** The fields that every task has. */
interface CommonFields extends TextFields {
  readonly pooling: Pooling
  /** Empty for regression and feature extraction. */
  readonly labels: readonly string[]
  readonly description?: string
  readonly metrics?: Readonly<Record<string, unknown>>
  /** How a token classification finds the words of a text. Without a rule they are those of the tokenizer. */
  readonly words?: WordRule
  /** Smallest and largest target of a regression. */
  readonly range?: readonly [number, number]
  /** Digests of examples that training never used, 8 bytes each: a resumed run is scored on them. */
  readonly heldOut?: Uint8Array
}

export type Task = CommonFields & ProblemFields & (MaskFields | BareFields)

/** Bytes of a digest of a held-out example. */
export const heldOutDigestBytes = 8

/** Least probabilities: one for all labels, or one for each. */
export type Thresholds = number | Float32Array

/** The threshold of a multi-label task whose file names none. */
export const defaultThreshold = 0.5

export const thresholdOf = (thresholds: Thresholds, label: number): number =>
  typeof thresholds === 'number' ? thresholds : (thresholds[label] ?? defaultThreshold)
