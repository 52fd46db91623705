// What a task file has for a problem type: each file of this folder says it of one type. task-file.ts reads and writes what
// all types have.

import type { Metadata } from '../../formats/metadata.js'
import type { SafetensorsHeader } from '../../formats/safetensors.js'
import type { Steps } from '../../steps.js'
import type { ProblemFields, ProblemType } from '../task.js'

export type FieldsOf<P extends ProblemType> = Extract<ProblemFields, { readonly problemType: P }>

export interface ProblemFile<F extends ProblemFields> {
  /** Whether tasks can be trained on pairs that are encoded together. */
  readonly takesPairs: boolean
  readonly hasLabels: boolean
  /** Whether a file can have a threshold for each label. */
  readonly hasThresholds: boolean
  /** The layers that make its output. */
  readonly layers: 'head' | 'projection'
  /** Metadata that no other problem type has. */
  readonly ownMetadata: readonly string[]
  readInSteps(file: Uint8Array, header: SafetensorsHeader, metadata: Metadata): Steps<F>
  /** Its own metadata. Those of the layers are written with their tensors. */
  write(fields: F): Readonly<Record<string, string>>
}
