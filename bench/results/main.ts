// `npm run results`: learns what the results page compares, a run after another, and writes the page.

import { Command, InvalidArgumentError, Option } from 'commander'
import { untilInterrupted } from '../../src/commands/interrupt.js'
import { duration, ProgressLine } from '../../src/commands/progress-line.js'
import { whole } from '../../src/commands/training-options.js'
import { settings } from '../../src/config.js'
import { combinings } from '../../src/petl/task.js'
import { Problem } from '../../src/problem.js'
import { learningProviders } from '../../src/runtime/execution-providers.js'
import { type ComparedMethod, comparedMethods } from './compared-methods.js'
import { writePage } from './page.js'
import { type RunnerOptions, runAll } from './runner.js'

const storeOption = () =>
  new Option('--store <file>', 'the finished runs, a line each').default('bench/results/runs.jsonl')

const words = (given: string): string[] => {
  const found = given.split(',').map((word) => word.trim())
  if (found.includes('') || new Set(found).size < found.length)
    throw new InvalidArgumentError('Expected names with commas between them, each once.')
  return found
}

const methodNames = (given: string): ComparedMethod[] =>
  words(given).map((word) => {
    const method = comparedMethods.find((method) => method === word)
    if (method === undefined) throw new InvalidArgumentError(`Expected some of ${comparedMethods.join(', ')}.`)
    return method
  })

const seedNumbers = (given: string): number[] => words(given).map(whole(0, 2 ** 31 - 1))

const program = new Command('results')
  .description('learn what the results page compares, and write the page')
  .showHelpAfterError('(run with --help for the usage and an example)')
  .addHelpText(
    'after',
    '\nExample:\n  $ npm run results -- run --data data --seeds 1,2,3\n  $ npm run results -- page --out docs/results.md',
  )

program
  .command('run')
  .description('learn what is not in the store yet; it may be ended at any time and goes on where it was')
  .requiredOption('--data <dir>', 'a folder for each task, with train.jsonl, and perhaps dev.jsonl and task.json')
  .option('--tasks <names>', 'which of the tasks (default: all)', words)
  .option('--methods <names>', `which of ${comparedMethods.join(', ')}`, methodNames, [...comparedMethods])
  .option('--seeds <numbers>', 'a run of everything for each', seedNumbers, [1, 2, 3])
  .option('--max-rows <number>', 'rows of a task to learn from at most, drawn at random', whole(2, 1e9), 3000)
  .option(
    '--epochs <number>',
    'times that every row is seen, but by a head alone (default: 3 to 50, for 400 steps)',
    whole(1, 10_000),
  )
  .addOption(storeOption())
  .addOption(
    new Option('--model-dir <dir>', 'Hugging Face directory of the backbone').default(
      settings.modelDir.value,
      'the bundled all-MiniLM-L6-v2',
    ),
  )
  .addOption(
    new Option('--prototype-dir <dir>', 'where the prototype.safetensors is that masks are learned on').default(
      settings.modelDir.value,
      "the bundled model's",
    ),
  )
  .addOption(
    new Option('--combine <kind>', "how a mask of one row meets the prototype's layer masks")
      .choices(combinings)
      .default('none'),
  )
  .addOption(new Option('--provider <name>', 'where it learns').choices(learningProviders).default('cpu'))
  .option('--threads <number>', 'threads that compute; 0 is one for each core', whole(0, 1024), 0)
  .addHelpText(
    'after',
    '\nExample:\n  $ npm run results -- run --data data --tasks sst2,trec --methods head,single --seeds 1',
  )
  .action(run)

program
  .command('page')
  .description('write the table and the plot of what is in the store')
  .addOption(storeOption())
  .option('--out <file>', 'the page; the plot lies beside it', 'docs/results.md')
  .addHelpText(
    'after',
    '\nExample:\n  $ npm run results -- page --store bench/results/runs.jsonl --out docs/results.md',
  )
  .action(async ({ store, out }: { store: string; out: string }) => {
    for (const file of await writePage(store, out)) console.log(file)
  })

async function run(options: RunnerOptions): Promise<void> {
  const line = new ProgressLine(process.stderr)
  const say = (text: string) => line.print(text)
  const { stored, skipped, failed, stopped } = await untilInterrupted(
    (signal) =>
      runAll(
        options,
        {
          say,
          show: (progress, place, secondsAfter) =>
            line.show(progress, (sentence) => {
              const all = secondsAfter === undefined ? undefined : progress.millisecondsLeft + 1000 * secondsAfter
              return `${place}: ${sentence} in this run, ${all === undefined ? 'not known yet' : `about ${duration(all)}`} in all`
            }),
        },
        signal,
      ),
    () => line.print('stopping after this step; the run is begun anew by the next call'),
  )
  const state = stopped ? 'stopped' : 'done'
  line.print(`${state}: ${stored} runs stored now, ${skipped} before${failed > 0 ? `, ${failed} failed` : ''}`)
  if (stopped) process.exitCode = 130
  else if (failed > 0) process.exitCode = 1
}

try {
  await program.parseAsync()
} catch (error) {
  if (!(error instanceof Problem)) throw error
  console.error(`results: ${error.message}`)
  process.exitCode = 1
}
