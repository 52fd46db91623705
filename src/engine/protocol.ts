// What the engine and its thread say to each other.

import type { ProblemCode } from '../problem.js'
import type { Loads } from '../runtime/bank.js'
import type { PackedRows } from '../runtime/packed-rows.js'
import type { ProviderChoice, ProviderRequest } from '../runtime/provider-choice.js'
import type { SessionOptions } from '../runtime/session.js'
import type { BatchTiming } from '../runtime/warm-up.js'
import type { Loss } from './engine-lost.js'

/** How the thread starts (its workerData). */
export interface ThreadOptions extends SessionOptions, ProviderRequest {
  /** One element: 1 once the thread is given up and is to end without running what was sent to it. */
  readonly abandoned: Int32Array<SharedArrayBuffer>
}

export interface RunRequest {
  readonly id: number
  readonly rows: PackedRows
  readonly slots: Int32Array<ArrayBuffer>
  /** Their buffer is handed over and not copied. */
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
      /** Rows that float16 did not hold. */
      readonly recomputed: number
      readonly runMs: number
    }
  | { readonly kind: 'error'; readonly id: number; readonly message: string }
  /** The session cannot be used any more, and the thread ends. */
  | { readonly kind: 'lost'; readonly loss: Loss }
