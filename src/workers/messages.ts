// The messages between the primary process and an HTTP worker, over the channel that Node opens between them. Requests do not
// travel on it.

import type { Config } from '../config.js'
import type { CertificatePair } from '../http/certificate.js'
import type { Snapshot } from '../http/merged-metrics.js'
import type { ProblemCode } from '../problem.js'
import type { SharedFile } from '../store/store.js'
import type { CollectedTexts } from '../suggestions/text-buffer.js'
import type { ShadowCount } from '../tasks/shadows.js'

/** The worker's descriptor of its stream to the inference. */
export const inferenceFd = 4

/** What a worker needs before it can listen. */
export interface WorkerStart {
  /** As the worker uses it: limits of connections are those of one worker. */
  readonly config: Config
  /** Whether the server may be used without API keys, if there are none. */
  readonly mayBeOpen: boolean
  readonly certificate: CertificatePair | undefined
  /** Processes of the server, which share its memory. */
  readonly processes: number
  /** Path of the Unix socket of the primary process's HTTP application. */
  readonly appSocket: string
  readonly store: SharedFile | undefined
}

/** What a worker needs before it can predict. */
export interface WorkerModel {
  /** Hugging Face directory of the backbone. */
  readonly directory: string
  readonly prototypeFile: string | undefined
}

export type ToWorker =
  | { readonly kind: 'start'; readonly start: WorkerStart }
  | { readonly kind: 'load'; readonly model: WorkerModel }
  /** From now on predictions are computed. */
  | { readonly kind: 'serve' }
  | { readonly kind: 'store'; readonly store: SharedFile | undefined }
  | { readonly kind: 'certificate'; readonly pair: CertificatePair }
  | { readonly kind: 'log_level'; readonly level: Config['logLevel'] }
  | { readonly kind: 'report' }
  /** Finish accepted requests, and exit. */
  | { readonly kind: 'stop' }

export type FromWorker =
  /** Messages before this one would be lost. */
  | { readonly kind: 'up' }
  | { readonly kind: 'listening'; readonly address: string }
  | { readonly kind: 'loaded' }
  /** The worker ends. */
  | { readonly kind: 'failed'; readonly code: ProblemCode | undefined; readonly message: string }
  /** Sent every second, in response to `report`, and before the worker exits. */
  | {
      readonly kind: 'metrics'
      readonly metrics: Snapshot
      /** Comparisons of candidates since the last report. */
      readonly shadows: readonly ShadowCount[]
      /** Connections that the worker has got since its start. */
      readonly connections: number
    }
  /** Texts that are to be kept, and how many the worker has dropped since the last message. */
  | { readonly kind: 'texts'; readonly collected: readonly CollectedTexts[]; readonly dropped: number }
