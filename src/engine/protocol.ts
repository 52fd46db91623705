// The messages between an engine and its thread.

import type { ProblemCode } from '../problem.js'
import type { Loads } from '../runtime/bank.js'
import type { PackedRows } from '../runtime/packed-rows.js'
import type { ProviderChoice, ProviderRequest } from '../runtime/provider-choice.js'
import type { SessionOptions } from '../runtime/session.js'
import type { BatchTiming } from '../runtime/warm-up.js'
import type { Loss } from './engine-lost.js'

/** The workerData of the thread. */
export interface ThreadOptions extends SessionOptions, ProviderRequest {
  /** A flag of one element. With 1 the thread is abandoned, and ends without running the batches that were sent to it. */
  readonly abandoned: Int32Array<SharedArrayBuffer>
}

export interface RunRequest {
  readonly id: number
  readonly rows: PackedRows
  readonly slots: Int32Array<ArrayBuffer>
  /** Its buffer is transferred, not copied. */
  readonly loads: Loads
  readonly withHidden: boolean
}

export type ThreadMessage =
  | { readonly kind: 'ready'; readonly choice: ProviderChoice; readonly timings: readonly BatchTiming[] }
  | { readonly kind: 'failed'; readonly message: string; readonly code: ProblemCode | undefined }
  | {
      readonly kind: 'result'
      readonly id: number
      readonly pooled: Float32Array
      readonly hidden: Float32Array | undefined
      /** Rows that were recomputed in float32. */
      readonly recomputed: number
      readonly runMs: number
    }
  | { readonly kind: 'error'; readonly id: number; readonly message: string }
  /** The session is unusable, and the thread ends. */
  | { readonly kind: 'lost'; readonly loss: Loss }
