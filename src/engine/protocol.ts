// What the engine and its thread say to each other.

import type { Backbone } from '../backbones/backbone.js'
import type { Prototype } from '../formats/prototype.js'
import type { ProblemCode } from '../problem.js'
import type { ProviderChoice } from './providers.js'
import type { PackedRows } from './rows.js'
import type { Provider } from './session.js'

/** How the thread starts (its workerData). */
export interface ThreadOptions {
  readonly backbone: Backbone
  readonly prototype: Prototype | undefined
  readonly slots: number
  readonly provider: Provider | 'auto'
  readonly threads: number
}

/** Bitsets that slots get: end to end in one buffer, which is handed over and not copied. */
export interface Loads {
  readonly slots: readonly number[]
  readonly bitsets: Uint8Array<ArrayBuffer>
}

export interface RunRequest {
  readonly id: number
  readonly rows: PackedRows
  readonly slots: Int32Array<ArrayBuffer>
  /** What is put into the bank before the run. */
  readonly loads: Loads
  readonly withHidden: boolean
}

export type ThreadMessage =
  | { readonly kind: 'ready'; readonly choice: ProviderChoice }
  | { readonly kind: 'failed'; readonly message: string; readonly code: ProblemCode | undefined }
  | {
      readonly kind: 'result'
      readonly id: number
      readonly pooled: Float32Array
      readonly hidden: Float32Array | undefined
      readonly runMs: number
    }
  | { readonly kind: 'error'; readonly id: number; readonly message: string }
