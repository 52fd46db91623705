// The services of a server, assembled: model, engines, tasks, examples and learning, on a store that is open.

import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { readBackbone } from './backbones/backbone.js'
import { TextTokenizer } from './backbones/tokenizer.js'
import type { Config } from './config.js'
import type { Costs } from './costs/costs.js'
import { Engines } from './engine/engines.js'
import { ExampleStore } from './examples/example-store.js'
import { heapBytesFor, ReadingThreads } from './examples/reading-threads.js'
import { UploadFolder } from './examples/upload-folder.js'
import type { Metrics } from './http/metrics.js'
import type { Services } from './http/services.js'
import { howToMakePrototype } from './hub/find-model.js'
import type { Inference } from './inference/inference.js'
import type { Learner } from './jobs/job-run.js'
import { Jobs } from './jobs/jobs.js'
import { Learning } from './jobs/learning.js'
import { Runner } from './jobs/runner.js'
import { servedModel } from './petl/combining.js'
import { readPrototypeFile } from './petl/prototype-file.js'
import { Problem } from './problem.js'
import { providers } from './runtime/providers.js'
import { batchTokens, CostModel } from './scheduler/cost.js'
import { Dispatcher } from './scheduler/dispatcher.js'
import { supervision } from './server-reports.js'
import { settings } from './settings.js'
import type { Store } from './store/store.js'
import { Suggestions } from './suggestions/suggestions.js'
import { openPredictor } from './tasks/open-predictor.js'
import { ReadyTasks } from './tasks/ready-tasks.js'
import { Registry, readBundled } from './tasks/registry.js'
import { Shadows } from './tasks/shadows.js'
import { TaskStore } from './tasks/store.js'
import { Keys } from './tenants/keys.js'
import { Tenants } from './tenants/tenants.js'
import type { WorkerModel } from './workers/messages.js'

export interface ServiceParts {
  readonly config: Config
  readonly costs: Costs
  readonly learner: Learner
  readonly logger: Logger
  readonly inference: Inference
  readonly metrics: Metrics
}

/**
 * Starts the engines, and opens all that the routes use.
 * @throws Problem if settings, model or files are invalid
 */
export async function loadServices(
  store: Store,
  { directory, prototypeFile }: WorkerModel,
  { config, costs, inference, learner, metrics, logger }: ServiceParts,
): Promise<Services> {
  const { shares, pools, work } = costs
  const { masksDir, slots, threads, provider, numerics, maxBatchTokens, maxTextTokens, maxQueueRows } = config
  const backbone = await readBackbone(directory)
  const prototype = prototypeFile === undefined ? undefined : await readPrototypeFile(prototypeFile)
  if (prototype === undefined)
    logger.warn(
      { advice: howToMakePrototype(config.modelDir) },
      'the model has no prototype: only tasks without a mask are served',
    )
  const { engineTimeoutMs: runTimeoutMs, engineStartTimeoutMs: startTimeoutMs } = config
  const memoryBytes = costs.memory.bytes - costs.learning.all
  const starting = Engines.start(
    config.engines,
    { backbone, prototype, provider, numerics, slots, threads, runTimeoutMs, startTimeoutMs, memoryBytes },
    (engine) => supervision(engine, logger, metrics),
  )
  try {
    const tokenizer = await TextTokenizer.open(backbone, maxTextTokens)
    const model = servedModel(backbone, prototype)
    const ready = new ReadyTasks(model, work, pools.tasks, shares.cache)
    const [engines, tasks, { bundled, skipped }] = await Promise.all([
      starting,
      TaskStore.open(store, config.versions),
      readBundled(model, masksDir, masksDir === settings.masksDir.value),
    ])
    const registry = new Registry(ready, tasks, bundled)
    if (skipped > 0) logger.info({ skipped }, 'the bundled tasks belong to another model and are not served')
    engines.onStuck = (reason) => {
      // Nothing catches this error: the process exits, and its supervisor starts a new one.
      throw new Problem('engine_lost', `${reason}; only a new process can start an engine`)
    }
    const { timings } = engines
    const cost = new CostModel(timings)
    const sizes = batchTokens(maxBatchTokens, timings)
    // On the CPU padding costs as much as in a batch of its own.
    const isDevice = providers[engines.choice.provider].isDevice
    const freePlaces = isDevice ? Math.min(cost.tokensPerStart, sizes.maxTokens) : 0
    const dispatcher = new Dispatcher(engines.all, { ...sizes, freePlaces, maxMasks: slots, maxQueueRows }, cost)
    dispatcher.onBatch = (report) => metrics.batch(report)
    dispatcher.onDropped = (reason, rows) => metrics.dropped(reason, rows)
    dispatcher.onRejected = (reason) => metrics.rejected(reason)
    dispatcher.onTextsRejected = (texts) =>
      logger.error({ texts }, 'texts are rejected: two engines were lost with them')
    const { hiddenSize } = model
    const suggestions = new Suggestions(store, logger)
    const { collector } = suggestions
    const predictor = openPredictor({ registry, tokenizer, inference, hiddenSize, costs, config, collector })
    const [tenants, keys] = [new Tenants(store), new Keys(store)]
    const shadows = new Shadows(predictor)
    shadows.onOutcome = (outcome, texts) => metrics.shadow(outcome, texts)
    const examples = new ExampleStore(store)
    const uploads = await UploadFolder.open(config.dataDir, config.maxExamplesBytes)
    const readingThreads = new ReadingThreads(heapBytesFor(memoryBytes))
    const served = { costs, store, registry, engines, dispatcher, predictor }
    const learning = openLearning(
      registry,
      examples,
      { directory, prototypeFile },
      { config, costs, learner, metrics, logger },
    )
    return { ...served, shadows, tenants, keys, examples, uploads, readingThreads, learning, suggestions }
  } catch (error) {
    const engines = await starting.catch(() => undefined)
    await engines?.close()
    throw error
  }
}

function openLearning(
  { ready, store: tasks }: Registry,
  examples: ExampleStore,
  { directory, prototypeFile }: WorkerModel,
  { config, costs, learner, metrics, logger }: Omit<ServiceParts, 'inference'>,
): Learning {
  const { dataDir, masksDir, learningJobs: atOnce, learningThreads, learningTimeBudgetS, learningExamples } = config
  const jobs = new Jobs(tasks.store, tasks.versionsKept)
  const runner = new Runner({
    jobs,
    examples,
    learner,
    model: { directory, prototypeFile, masksDir },
    check: async (owner, file) => (await ready.make(owner, file)).file,
    atOnce,
    limits: {
      threads: learningThreads === 'auto' ? Math.max(1, Math.floor(availableParallelism() / 2)) : learningThreads,
      memoryBytes: costs.learning.perJob,
      timeBudgetS: learningTimeBudgetS,
      examples: learningExamples,
    },
    directory: join(dataDir, 'learning'),
    work: costs.work,
    log: logger,
    onEnd: (state, seconds) => metrics.jobEnded(state, seconds),
  })
  return new Learning(jobs, runner)
}
