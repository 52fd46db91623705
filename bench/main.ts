// `npm run bench`: every benchmark, or those named on the command line.

import { writeFile } from 'node:fs/promises'
import { availableParallelism, cpus } from 'node:os'
import { Command, InvalidArgumentError, Option } from 'commander'
import { positive, whole } from '../src/commands/training-options.js'
import { numerics as numericsChoices } from '../src/config.js'
import { type Numerics, type Provider, providers } from '../src/runtime/execution-providers.js'
import { badClients } from './attacks/bad-clients.js'
import { attackNames, attacks } from './attacks/benchmark.js'
import { device } from './engine/device.js'
import { int8, int8Loss } from './engine/int8.js'
import { mixedBatch, mixedBatchOn } from './engine/mixed-batch.js'
import { padding } from './engine/padding.js'
import { faultNames, faults } from './faults/benchmark.js'
import { memoryLeak } from './long-running/memory-leak.js'
import { soak } from './long-running/soak.js'
import { adapterSessions } from './peers/adapter-sessions.js'
import { compare } from './peers/comparison.js'
import { peft } from './peers/peft.js'
import { trainingStepAgainstPyTorch } from './peers/training-step.js'
import { transformersJs } from './peers/transformers-js.js'
import { flood } from './scheduling/flood.js'
import { overload } from './scheduling/overload.js'
import { queue } from './scheduling/queue.js'
import { http } from './serving/http.js'
import { httpReal } from './serving/http-real.js'
import { manyTasks, millionTasks } from './serving/many-tasks.js'
import { memory, start } from './serving/start.js'
import { upload } from './serving/upload.js'
import { versions } from './serving/versions.js'
import { type Benchmark, type Figure, isMet } from './support/figures.js'
import { modelDir } from './support/material.js'
import { tableHead, tableRow } from './table.js'
import { trainingStep } from './training/training-step.js'

const benchmarks: Readonly<Record<string, Benchmark>> = {
  'mixed-batch': mixedBatch,
  http,
  'http-real': httpReal,
  flood,
  'bad-clients': badClients,
  overload,
  queue,
  start,
  upload,
  padding,
  int8,
  'many-tasks': manyTasks,
  memory,
  'learning-step': trainingStep,
}

/** Benchmarks on what an option brings, or that take long: they run if they are named. */
const onRequest: Readonly<Record<string, (options: Options) => Benchmark>> = {
  soak: ({ minutes, numerics, engines, keys }) =>
    soak({ minutes, numerics, ...(engines && { engines }), keys: keys === true }),
  attacks: ({ only, seconds }) => attacks({ ...(only && { only: named(only, 'attack', attackNames) }), seconds }),
  faults: ({ only }) => faults(only ? { only: named(only, 'fault', faultNames) } : {}),
  memoryLeak: ({ requests }) => memoryLeak(requests),
  versions: ({ against }) => {
    if (against === undefined) program.error('versions needs --against, the folder of another checkout')
    return versions(against)
  },
  'pytorch-step': ({ python }) => trainingStepAgainstPyTorch(python),
  device: ({ provider, numerics }) => device(provider, numerics),
  'int8-loss': ({ data }) => int8Loss(data),
  'million-tasks': () => millionTasks,
  'other-backbone': ({ modelDir }) => mixedBatchOn(modelDir),
  'transformers-js': ({ numerics, tasks }) =>
    compare({ peer: transformersJs, numerics, sizes: tasks, targets: { memory: { tasks: 256, atMost: 1 / 50 } } }),
  'adapter-sessions': ({ numerics, tasks }) => compare({ peer: adapterSessions, numerics, sizes: tasks, targets: {} }),
  peft: ({ python, numerics, tasks }) =>
    compare({
      peer: peft(python, 'float32'),
      numerics,
      sizes: tasks,
      targets: numerics === 'float32' ? { throughput: { tasks: 16, atLeast: 2 } } : {},
    }),
  'peft-bfloat16': ({ python, numerics, tasks }) =>
    compare({
      peer: peft(python, 'bfloat16'),
      numerics,
      sizes: tasks,
      targets: numerics === 'int8' ? { throughput: { tasks: 16, atLeast: 2.5 } } : {},
    }),
}

interface Options {
  readonly python: string
  readonly modelDir: string
  readonly data: string
  readonly provider: Provider
  readonly numerics: Numerics
  readonly tasks: readonly number[]
  readonly minutes: number
  readonly engines?: number
  readonly keys?: boolean
  readonly only?: readonly string[]
  readonly seconds: number
  readonly requests: number
  readonly against?: string
  readonly json?: string
  readonly jsonOnly?: boolean
}

function taskCounts(list: string): number[] {
  const counts = list.split(',').map(Number)
  if (counts.every((count, i) => Number.isInteger(count) && count > (counts[i - 1] ?? 0))) return counts
  throw new InvalidArgumentError('expected whole numbers from 1, ascending, such as 1,16')
}

/** @returns the names, if there are such things */
function named(names: readonly string[], what: string, known: readonly string[]): readonly string[] {
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined) program.error(`there is no ${what} "${unknown}"; there are ${known.join(', ')}`)
  return names
}

const program: Command = new Command('bench')
  .description('measure what the README states, on the CPU of this machine')
  .argument(
    '[names...]',
    `which: ${Object.keys(benchmarks).join(', ')}; all of these unless named, and ${Object.keys(onRequest).join(', ')}`,
  )
  .option('--python <path>', 'interpreter for the benchmarks against others, see bench/peers', 'python3')
  .option('--model-dir <dir>', 'Hugging Face directory for other-backbone', modelDir)
  .option('--data <dir>', 'folder of tasks with dev.jsonl for int8-loss', 'data')
  .addOption(
    new Option('--numerics <kind>', 'what the server computes in beside a peer, in soak and in device')
      .choices(numericsChoices)
      .default('float32'),
  )
  .addOption(
    new Option('--provider <name>', 'execution provider for device')
      .choices(providers.filter((name) => name !== 'cpu'))
      .default('webgpu'),
  )
  .option('--minutes <n>', 'how long soak lasts', positive, 20)
  .option('--engines <n>', 'engines of the server of soak, if not as many as it takes by itself', whole(1, 256))
  .option('--keys', 'tenants with keys in soak, which come and go')
  .option('--only <names>', 'which attacks or faults, separated by commas, if not all', (list: string) =>
    list.split(','),
  )
  .option('--seconds <n>', 'how long each of the attacks lasts; all take about 40 minutes by default', positive, 10)
  .option(
    '--requests <n>',
    'how many requests memoryLeak sends; by default it takes 10 to 30 minutes',
    whole(2_000, 100_000_000),
    200_000,
  )
  .option('--against <dir>', 'checkout of another version, built, for versions; it takes about three minutes')
  .option('--tasks <counts>', 'numbers of tasks beside a peer, separated by commas', taskCounts, [1, 16, 256, 4096])
  .option('--json <file>', 'write the figures to a file as well')
  .option('--json-only', 'print JSON in place of the table')
  .addHelpText('after', '\nExample:\n  $ npm run bench -- mixed-batch padding --json figures.json')
  .parse()

const options = program.opts<Options>()
const names = program.args.length > 0 ? program.args : Object.keys(benchmarks)
const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: availableParallelism(), node: process.version }
const log = (progress: string) => process.stderr.write(`${progress}\n`)

const table = !options.jsonOnly
if (table) console.log(`${machine.cpu}, ${machine.cores} cores, Node ${machine.node}\n\n${tableHead}`)

const figures: Figure[] = []
for (const name of names) {
  const benchmark = benchmarks[name] ?? onRequest[name]?.(options)
  if (benchmark === undefined) {
    const known = [...Object.keys(benchmarks), ...Object.keys(onRequest)]
    program.error(`there is no benchmark "${name}"; there are ${known.join(', ')}`)
  }
  log(`${name} …`)
  const found = await benchmark(log)
  if (table) console.log(found.map(tableRow).join('\n'))
  figures.push(...found)
}
const report = JSON.stringify(
  { machine, figures: figures.map((figure) => ({ ...figure, met: isMet(figure) })) },
  null,
  2,
)
if (options.json) await writeFile(options.json, `${report}\n`)
if (!table) console.log(report)
if (figures.some((figure) => isMet(figure) === false)) process.exitCode = 1
