// The command line of the benchmarks. Usage errors exit with code 2.

import { Command, InvalidArgumentError, Option } from 'commander'
import { numerics } from '../src/runtime/numerics.js'
import { providerNames } from '../src/runtime/providers.js'
import { attackNames } from './attacks/benchmark.js'
import { type BenchmarkOptions, type CatalogueEntry, catalogue, type OptionName } from './catalogue.js'
import { faultNames } from './faults/benchmark.js'
import { groups } from './report.js'
import type { PlannedBenchmark } from './run.js'
import { modelDir } from './support/material.js'

export interface CommandLine {
  readonly planned: readonly PlannedBenchmark[]
  /** Where to write the report: a path, or `-` for stdout. */
  readonly json?: string
  /** The command that repeats the run. */
  readonly command: string
}

interface OutputOptions {
  readonly json?: string
  readonly list?: true
}

const usageError = 2

const wholeNumber = (least: number, most: number) => (text: string) => {
  const value = Number(text)
  if (Number.isInteger(value) && value >= least && value <= most) return value
  throw new InvalidArgumentError(`Expected a whole number from ${least} to ${most}.`)
}

function positiveNumber(text: string): number {
  const value = Number(text)
  if (value > 0 && Number.isFinite(value)) return value
  throw new InvalidArgumentError('Expected a number above 0.')
}

function counts(list: string): number[] {
  const numbers = list.split(',').map(Number)
  if (numbers.every((count, i) => Number.isInteger(count) && count > (numbers[i - 1] ?? 0))) return numbers
  throw new InvalidArgumentError('Expected whole numbers above 0 in ascending order, such as 1,16.')
}

/** Parses a list of names, and rejects unknown ones. */
const namesOf = (known: readonly string[]) => (list: string) => {
  const names = list.split(',')
  const unknown = names.find((name) => !known.includes(name))
  if (unknown === undefined) return names
  throw new InvalidArgumentError(`"${unknown}" is unknown. Known names: ${known.join(', ')}.`)
}

/** The values of these options are paths of one machine, so commands for readers show a placeholder. */
const pathOptions: readonly OptionName[] = ['python', 'modelDir', 'data', 'against']

function createProgram(): Command {
  const program = new Command('bench')
  const add = (group: string, ...options: readonly Option[]) => {
    for (const option of options) program.addOption(option.helpGroup(group))
  }
  program
    .description(
      'Measures the server, its engine and training on this machine. Prints a Markdown table to stdout, and progress to ' +
        'stderr. Stop other work on the machine first.',
    )
    .usage('[options] [names...]')
    .argument('[names...]', 'benchmarks to run; all that are marked with * unless named')
    .addHelpOption(new Option('-h, --help', 'print this help').helpGroup('Output:'))
  add(
    'Output:',
    new Option('--list', 'list the benchmarks with what they measure and how long they take'),
    new Option(
      '--json <file>',
      'write the machine, the version and the figures to a file after each benchmark; - for stdout',
    ),
  )
  add(
    'Options of soak, device and the comparisons with others:',
    new Option('--numerics <kind>', 'numerics of our server').choices(numerics).default('float32'),
  )
  add(
    'Options of soak:',
    new Option('--minutes <n>', 'duration of the load, in minutes').argParser(positiveNumber).default(20),
    new Option('--engines <n>', "number of engines; the server's default unless given").argParser(wholeNumber(1, 256)),
    new Option('--keys', 'require API keys, and create and remove tenants'),
  )
  add(
    'Options of memory-leak:',
    new Option('--requests <n>', 'number of requests').argParser(wholeNumber(2_000, 100_000_000)).default(200_000),
  )
  add(
    'Options of large-files:',
    new Option('--rows <n>', 'number of rows').argParser(wholeNumber(1_000, 100_000_000)).default(1_000_000),
  )
  add(
    'Options of learning-kills:',
    new Option('--kills <n>', 'number of kills').argParser(wholeNumber(1, 100_000)).default(100),
  )
  add(
    'Options of attacks:',
    new Option('--attacks <names>', 'attacks to run, separated by commas; all unless given').argParser(
      namesOf(attackNames),
    ),
    new Option('--seconds <n>', 'duration of each attack, in seconds').argParser(positiveNumber).default(10),
  )
  add(
    'Options of faults:',
    new Option('--faults <names>', 'faults to cause, separated by commas; all unless given').argParser(
      namesOf(faultNames),
    ),
  )
  add(
    'Options of device and http-workers:',
    new Option(
      '--provider <name>',
      'execution provider; webgpu for device and cpu for http-workers unless given',
    ).choices(providerNames),
  )
  add(
    'Options of http-workers:',
    new Option('--workers <counts>', 'numbers of HTTP workers, separated by commas')
      .argParser(counts)
      .default([1, 2], '1,2'),
  )
  add(
    'Options of the comparisons with others:',
    new Option('--tasks <counts>', 'numbers of tasks, separated by commas')
      .argParser(counts)
      .default([1, 16, 256, 4096], '1,16,256,4096'),
    new Option('--python <path>', 'Python with bench/peers/requirements.txt, also for pytorch-step').default('python3'),
  )
  add(
    'Options of single benchmarks:',
    new Option('--model-dir <dir>', 'Hugging Face directory for other-backbone').default(modelDir, 'the bundled model'),
    new Option('--data <dir>', 'directory with task.json and dev.jsonl of each task, for int8-loss').default('data'),
    new Option('--against <dir>', 'checkout of another version after "npm run build", for versions'),
  )
  program.addHelpText('after', `\n${benchmarkList()}\n\n${examples}`)
  program.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : usageError))
  return program
}

const examples = `Examples:
  $ npm run bench                                        all benchmarks that are marked with *
  $ npm run bench -- mixed-batch padding                 two benchmarks
  $ npm run bench -- soak --minutes 60 --json soak.json  an hour of load, with a report
  $ npm run bench:page                                   docs/benchmarks.md from docs/benchmarks/*.json

Exit codes: 0 all targets are met; 1 a target is missed or a benchmark failed; 2 the command line is wrong;
130 or 143 interrupted.`

/** The catalogue as text, by group. */
function benchmarkList(): string {
  const width = Math.max(...catalogue.map(({ name }) => name.length)) + 2
  const durationWidth = Math.max(...catalogue.map(({ duration }) => duration.length))
  const lines = groups.flatMap((group) => [
    `${group}:`,
    ...catalogue
      .filter((entry) => entry.group === group)
      .map(({ name, measures, duration, isDefault }) => {
        const marked = `${name}${isDefault ? ' *' : ''}`
        return `  ${marked.padEnd(width)}  ${duration.padStart(durationWidth)}  ${measures}`
      }),
  ])
  return ['Benchmarks, with their duration on two cores (* runs by default):', ...lines].join('\n')
}

/** Parses the arguments. Exits after --help and --list, and on usage errors. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  const program = createProgram().parse(args, { from: 'user' })
  const options = program.opts<BenchmarkOptions & OutputOptions>()
  if (options.list) {
    console.log(benchmarkList())
    process.exit(0)
  }
  const isGiven = (name: OptionName) => program.getOptionValueSource(name) === 'cli'
  const optionOf = (name: OptionName): Option => {
    const option = program.options.find((each) => each.attributeName() === name)
    if (option === undefined) throw new Error(`the command line has no option for ${name}`)
    return option
  }
  const reject = (message: string): never => program.error(`error: ${message}`)

  const entries =
    program.args.length === 0
      ? catalogue.filter(({ isDefault }) => isDefault)
      : program.args.map(
          (name) =>
            catalogue.find((entry) => entry.name === name) ??
            reject(`there is no benchmark "${name}". Known names: ${catalogue.map((each) => each.name).join(', ')}.`),
        )
  for (const { name, required = [] } of entries)
    for (const option of required) if (!isGiven(option)) reject(`${name} requires ${optionOf(option).flags}.`)
  for (const option of program.options) {
    const name = option.attributeName() as OptionName
    const owners = catalogue.filter((entry) => entry.options.includes(name))
    if (owners.length > 0 && isGiven(name) && !owners.some((owner) => entries.includes(owner)))
      reject(`${option.long} has no effect here: it is an option of ${owners.map((owner) => owner.name).join(', ')}.`)
  }

  const flagsOf = (names: readonly OptionName[]) =>
    names.filter(isGiven).map((name) => {
      const option = optionOf(name)
      if (pathOptions.includes(name)) return option.flags
      const value = options[name]
      return value === true ? `${option.long}` : `${option.long} ${value}`
    })
  const commandOf = (chosen: readonly CatalogueEntry[], isNamed = true) => {
    const words = [
      ...(isNamed ? chosen.map(({ name }) => name) : []),
      ...flagsOf([...new Set(chosen.flatMap((entry) => entry.options))]),
    ]
    return ['npm run bench', ...(words.length > 0 ? ['--', ...words] : [])].join(' ')
  }
  return {
    planned: entries.map((entry) => ({
      benchmark: entry.name,
      group: entry.group,
      command: commandOf([entry]),
      run: entry.create(options),
    })),
    command: commandOf(entries, program.args.length > 0),
    ...(options.json !== undefined && { json: options.json }),
  }
}
