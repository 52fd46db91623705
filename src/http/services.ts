// The services of the routes, and whether they are ready: the server listens before the model is loaded.

import type { Costs } from '../costs/costs.js'
import type { Engines } from '../engine/engines.js'
import type { ExampleStore } from '../examples/example-store.js'
import type { ReadingThreads } from '../examples/reading-threads.js'
import type { UploadFolder } from '../examples/upload-folder.js'
import type { Learning } from '../jobs/learning.js'
import { Problem } from '../problem.js'
import type { Dispatcher } from '../scheduler/dispatcher.js'
import type { Store } from '../store/store.js'
import type { Suggestions } from '../suggestions/suggestions.js'
import type { Predictor } from '../tasks/predictor.js'
import type { Registry, ServedTasks } from '../tasks/registry.js'
import type { Shadows } from '../tasks/shadows.js'
import type { Keys } from '../tenants/keys.js'
import type { Tenants } from '../tenants/tenants.js'

/** What predictions need. */
export interface PredictionServices {
  readonly costs: Costs
  readonly registry: ServedTasks
  readonly predictor: Predictor
  readonly shadows: Shadows
}

export interface Services extends PredictionServices {
  readonly store: Store
  readonly registry: Registry
  readonly engines: Engines
  readonly dispatcher: Dispatcher
  readonly tenants: Tenants
  readonly keys: Keys
  readonly examples: ExampleStore
  readonly uploads: UploadFolder
  readonly readingThreads: ReadingThreads
  readonly learning: Learning
  readonly suggestions: Suggestions
  /** Undefined if this process serves HTTP itself. */
  readonly workers?: WorkerCounts | undefined
}

/** HTTP workers: those that should run, those that do, and how many ended unexpectedly. */
export interface WorkerCounts {
  readonly configured: number
  readonly available: number
  readonly lost: number
}

export class Lifecycle<S extends PredictionServices = Services> {
  #services: S | undefined
  #stopping = false

  /** Call it once the engines have computed a warm-up batch. */
  ready(services: S): void {
    this.#services = services
  }

  /** From now on connections are closed after their response, and the server is not ready. */
  stop(): void {
    this.#stopping = true
  }

  get stopping(): boolean {
    return this.#stopping
  }

  /** Undefined while the server starts. */
  get current(): S | undefined {
    return this.#services
  }

  /** @throws Problem `not_ready` */
  get services(): S {
    if (this.#services) return this.#services
    throw new Problem(
      'not_ready',
      'the server is loading the model or the tasks; GET /health/ready returns 200 once it is ready',
    )
  }
}
