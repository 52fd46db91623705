// The list of all benchmarks: what each measures, how long it takes, and which options it has.

import type { Numerics } from '../src/runtime/numerics.js'
import type { Provider } from '../src/runtime/providers.js'
import { badClients } from './attacks/bad-clients.js'
import { attacks } from './attacks/benchmark.js'
import { device } from './engine/device.js'
import { int8, int8Loss } from './engine/int8.js'
import { mixedBatch, mixedBatchOn, randomBackbones } from './engine/mixed-batch.js'
import { padding } from './engine/padding.js'
import { faults } from './faults/benchmark.js'
import { largeFiles } from './long-running/large-files.js'
import { memoryLeak } from './long-running/memory-leak.js'
import { soak } from './long-running/soak.js'
import { adapterSessions } from './peers/adapter-sessions.js'
import { type Comparison, compare } from './peers/comparison.js'
import { forwardAgainstPyTorch } from './peers/forward.js'
import { peft } from './peers/peft.js'
import { trainingStepAgainstPyTorch } from './peers/training-step.js'
import { transformersJs } from './peers/transformers-js.js'
import type { Group } from './report.js'
import { channel } from './scheduling/channel.js'
import { flood } from './scheduling/flood.js'
import { overload } from './scheduling/overload.js'
import { queue } from './scheduling/queue.js'
import { tail } from './scheduling/tail.js'
import { consolePage } from './serving/console.js'
import { examples } from './serving/examples.js'
import { http } from './serving/http.js'
import { httpReal } from './serving/http-real.js'
import { httpWorkers } from './serving/http-workers.js'
import { manyTasks, millionTasks } from './serving/many-tasks.js'
import { memory, start } from './serving/start.js'
import { upload } from './serving/upload.js'
import { versions } from './serving/versions.js'
import type { Benchmark } from './support/figures.js'
import { learning } from './training/learning.js'
import { learningKills } from './training/learning-kills.js'
import { trainingStep } from './training/training-step.js'

export interface BenchmarkOptions {
  readonly python: string
  readonly modelDir: string
  readonly data: string
  readonly provider?: Provider
  readonly numerics: Numerics
  readonly tasks: readonly number[]
  readonly workers: readonly number[]
  readonly minutes: number
  readonly engines?: number
  readonly keys?: true
  readonly attacks?: readonly string[]
  readonly faults?: readonly string[]
  readonly seconds: number
  readonly requests: number
  readonly rows: number
  readonly kills: number
  readonly against: string
}

export type OptionName = keyof BenchmarkOptions

export interface CatalogueEntry {
  readonly name: string
  readonly group: Group
  readonly measures: string
  /** On two cores. */
  readonly duration: string
  /** Whether a run without names includes it. */
  readonly isDefault: boolean
  /** The options that it has. */
  readonly options: readonly OptionName[]
  /** The options that it cannot run without. */
  readonly required?: readonly OptionName[]
  readonly create: (options: BenchmarkOptions) => Benchmark
}

type Description = Pick<CatalogueEntry, 'name' | 'measures' | 'duration'>

const byDefault = (group: Group, description: Description, benchmark: Benchmark): CatalogueEntry => ({
  ...description,
  group,
  isDefault: true,
  options: [],
  create: () => benchmark,
})

const onRequest = (
  group: Group,
  description: Description,
  options: readonly OptionName[],
  create: CatalogueEntry['create'],
): CatalogueEntry => ({ ...description, group, isDefault: false, options, create })

/** A comparison of our server with another program, at each number of tasks. */
const againstPeer = (
  name: string,
  peer: string,
  options: readonly OptionName[],
  comparison: (options: BenchmarkOptions) => Pick<Comparison, 'peer' | 'targets'>,
): CatalogueEntry =>
  onRequest(
    'Against others',
    { name, measures: `throughput, latency and memory against ${peer}`, duration: '10 min' },
    [...options, 'numerics', 'tasks'],
    (given) => compare({ ...comparison(given), numerics: given.numerics, sizes: given.tasks }),
  )

export const catalogue: readonly CatalogueEntry[] = [
  byDefault(
    'Engine',
    {
      name: 'mixed-batch',
      measures: 'the cost of the masks: a batch of 16 tasks against the bare backbone; adapter, LoRA and prefix',
      duration: '1 min',
    },
    mixedBatch,
  ),
  byDefault(
    'Engine',
    { name: 'padding', measures: 'packed tokens against padding to the longest text', duration: '1 min' },
    padding,
  ),
  byDefault('Engine', { name: 'int8', measures: 'engine throughput, int8 against float32', duration: '2 min' }, int8),
  onRequest(
    'Engine',
    {
      name: 'int8-loss',
      measures: 'loss of score of the bundled tasks in int8, on the data sets in --data',
      duration: '10 min',
    },
    ['data'],
    ({ data }) => int8Loss(data),
  ),
  onRequest(
    'Engine',
    {
      name: 'other-backbone',
      measures: 'mixed-batch with an adapter on the backbone in --model-dir',
      duration: '1 min',
    },
    ['modelDir'],
    ({ modelDir }) => mixedBatchOn(modelDir),
  ),
  onRequest(
    'Engine',
    {
      name: 'random-backbones',
      measures: 'mixed-batch with an adapter on random weights in the shape of ModernBERT-base and DeBERTa-v3-small',
      duration: '3 min',
    },
    [],
    () => randomBackbones,
  ),
  byDefault(
    'Serving',
    { name: 'http', measures: 'HTTP throughput against the engines fed directly', duration: '2 min' },
    http,
  ),
  byDefault(
    'Serving',
    {
      name: 'http-real',
      measures: 'HTTP throughput in float32 and int8 against the bare backbone, one text at a time',
      duration: '2 min',
    },
    httpReal,
  ),
  onRequest(
    'Serving',
    {
      name: 'http-workers',
      measures: 'HTTP throughput and latency with one text and with 32 texts a request, for each number of --workers',
      duration: '1 min',
    },
    ['provider', 'workers'],
    ({ provider = 'cpu', workers }) => httpWorkers(provider, workers),
  ),
  byDefault('Serving', { name: 'start', measures: 'start-up time', duration: '20 s' }, start),
  byDefault('Serving', { name: 'memory', measures: 'resident memory of a warm server', duration: '1 min' }, memory),
  byDefault(
    'Serving',
    { name: 'upload', measures: 'time from an upload to the first prediction of the new task', duration: '20 s' },
    upload,
  ),
  byDefault(
    'Serving',
    { name: 'many-tasks', measures: 'throughput and memory with 100,000 registered tasks', duration: '4 min' },
    manyTasks,
  ),
  onRequest(
    'Serving',
    {
      name: 'million-tasks',
      measures: 'throughput and memory with 1,000,000 registered tasks; needs 9 GB in the temporary directory',
      duration: '20 min',
    },
    [],
    () => millionTasks,
  ),
  onRequest(
    'Serving',
    {
      name: 'console',
      measures: 'first load of the console on a server with 10,000 tasks; needs Chromium',
      duration: '1 min',
    },
    [],
    () => consolePage,
  ),
  onRequest(
    'Serving',
    {
      name: 'examples',
      measures: 'storing and listing 1,000,000 examples of one task, and the memory for it',
      duration: '3 min',
    },
    ['rows'],
    ({ rows }) => examples(rows),
  ),
  {
    ...onRequest(
      'Serving',
      { name: 'versions', measures: 'throughput against the build in --against', duration: '3 min' },
      ['against'],
      ({ against }) => versions(against),
    ),
    required: ['against'],
  },
  againstPeer('transformers-js', 'transformers.js; see bench/peers', [], () => ({
    peer: transformersJs,
    targets: { memory: { tasks: 256, atMost: 1 / 50 } },
  })),
  againstPeer('adapter-sessions', 'one onnxruntime session per task', [], () => ({
    peer: adapterSessions,
    targets: {},
  })),
  againstPeer('peft', 'PyTorch with PEFT in float32; see bench/peers', ['python'], ({ python, numerics }) => ({
    peer: peft(python, 'float32'),
    targets: numerics === 'float32' ? { throughput: { tasks: 16, atLeast: 2 } } : {},
  })),
  againstPeer(
    'peft-bfloat16',
    'PyTorch with PEFT in bfloat16; see bench/peers',
    ['python'],
    ({ python, numerics }) => ({
      peer: peft(python, 'bfloat16'),
      targets: numerics === 'int8' ? { throughput: { tasks: 16, atLeast: 2.5 } } : {},
    }),
  ),
  onRequest(
    'Serving',
    {
      name: 'channel',
      measures: 'transports between HTTP workers and the process of the engines, and the cost of its host per text',
      duration: '40 s',
    },
    [],
    () => channel,
  ),
  byDefault(
    'Limits and attacks',
    { name: 'queue', measures: 'processor time of the scheduler with 100,000 waiting rows', duration: '30 s' },
    queue,
  ),
  byDefault(
    'Limits and attacks',
    {
      name: 'tail',
      measures: 'the longest waits of simulated clients of tasks with short and long texts, and next to a flood',
      duration: '10 s',
    },
    tail,
  ),
  byDefault(
    'Limits and attacks',
    { name: 'flood', measures: 'latency of one client while 64 clients flood another task', duration: '2 min' },
    flood,
  ),
  byDefault(
    'Limits and attacks',
    { name: 'overload', measures: 'responses in time at ten times the load that can be served', duration: '2 min' },
    overload,
  ),
  byDefault(
    'Limits and attacks',
    { name: 'bad-clients', measures: 'latency next to hundreds of clients that misbehave', duration: '4 min' },
    badClients,
  ),
  onRequest(
    'Limits and attacks',
    {
      name: 'attacks',
      measures: 'about sixty attacks on a server with 1 GiB of memory, and the latency of another tenant',
      duration: '40 min',
    },
    ['attacks', 'seconds'],
    ({ attacks: only, seconds }) => attacks({ ...(only && { only }), seconds }),
  ),
  onRequest(
    'Faults',
    {
      name: 'faults',
      measures:
        'kills, full and failing disks, damaged files, lost links and hung threads; some need root or PostgreSQL',
      duration: '45 min',
    },
    ['faults'],
    ({ faults: only }) => faults(only ? { only } : {}),
  ),
  onRequest(
    'Long runs',
    {
      name: 'soak',
      measures: 'growth of memory, leaks and wrong responses under a mixed load of --minutes',
      duration: '21 min',
    },
    ['minutes', 'numerics', 'engines', 'keys'],
    ({ minutes, numerics, engines, keys }) =>
      soak({ minutes, numerics, ...(engines && { engines }), keys: keys === true }),
  ),
  onRequest(
    'Long runs',
    { name: 'memory-leak', measures: 'growth of memory over --requests requests', duration: '10 to 30 min' },
    ['requests'],
    ({ requests }) => memoryLeak(requests),
  ),
  onRequest(
    'Long runs',
    { name: 'large-files', measures: 'memory of check and predict on a CSV file of --rows rows', duration: '10 min' },
    ['rows'],
    ({ rows }) => largeFiles(rows),
  ),
  byDefault(
    'Training',
    {
      name: 'learning',
      measures: 'time from posted examples to a live task, and predictions while a job learns',
      duration: '4 min',
    },
    learning,
  ),
  onRequest(
    'Training',
    {
      name: 'learning-kills',
      measures: 'jobs and examples that are lost when the server is killed while it learns',
      duration: '45 min',
    },
    ['kills'],
    ({ kills }) => learningKills(kills),
  ),
  byDefault(
    'Training',
    { name: 'training-step', measures: 'a training step against the forward pass alone', duration: '30 s' },
    trainingStep,
  ),
  onRequest(
    'Training',
    {
      name: 'pytorch-step',
      measures: "a training step against PyTorch's eager mode; see bench/peers",
      duration: '1 min',
    },
    ['python'],
    ({ python }) => trainingStepAgainstPyTorch(python),
  ),
  onRequest(
    'Against others',
    {
      name: 'pytorch-forward',
      measures:
        "backbones in the shape of ModernBERT-base and DeBERTa-v3-small against PyTorch's eager mode; see bench/peers",
      duration: '5 min',
    },
    ['python'],
    ({ python }) => forwardAgainstPyTorch(python),
  ),
  onRequest(
    'GPU',
    {
      name: 'device',
      measures: 'the cost of the masks, and HTTP throughput against the CPU, on the GPU of --provider',
      duration: '3 min',
    },
    ['provider', 'numerics'],
    ({ provider = 'webgpu', numerics }) => device(provider, numerics),
  ),
]
