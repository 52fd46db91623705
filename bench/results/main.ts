// `npm run results`: trains all runs that the results page compares, one after another, and writes the page.

import { Command, InvalidArgumentError, Option } from 'commander'
import { untilInterrupted } from '../../src/commands/interrupt.js'
import { writeAtomically } from '../../src/commands/output-file.js'
import { duration, ProgressLine } from '../../src/commands/progress-line.js'
import { whole } from '../../src/commands/training-options.js'
import { combinings } from '../../src/petl/task.js'
import { Problem } from '../../src/problem.js'
import { learningProviders } from '../../src/runtime/providers.js'
import { settings } from '../../src/settings.js'
import { type BundledOptions, bundledTable, trainBundledTasks } from './bundled.js'
import { type ComparedMethod, comparedMethods } from './compared-methods.js'
import { type FewShotOptions, runFewShot } from './few-shot.js'
import { fewShotPage } from './few-shot-page.js'
import { readFewShot, type SampleSize } from './few-shot-run.js'
import { compareLinearModels, type LinearModelsOptions, linearModelsTable } from './linear-models.js'
import { writePage } from './page.js'
import { type RunnerOptions, runAll } from './runner.js'

const storeOption = () =>
  new Option('--store <file>', 'file of finished runs, one per line').default('bench/results/runs.jsonl')

const names = (given: string): string[] => {
  const found = given.split(',').map((name) => name.trim())
  if (found.includes('') || new Set(found).size < found.length)
    throw new InvalidArgumentError('Expected different names, separated by commas.')
  return found
}

const methodNames = (given: string): ComparedMethod[] =>
  names(given).map((name) => {
    const method = comparedMethods.find((method) => method === name)
    if (method === undefined) throw new InvalidArgumentError(`Expected one or more of ${comparedMethods.join(', ')}.`)
    return method
  })

const sampleSizes = (given: string): SampleSize[] =>
  names(given).map((text) => {
    const [, count = '', each] = /^(\d+)(x?)$/.exec(text) ?? []
    if (!(Number(count) > 0)) throw new InvalidArgumentError('Expected sizes such as 200 or 8x, separated by commas.')
    return { count: Number(count), each: each === 'x' ? 'label' : 'all' }
  })

const seedNumbers = (given: string): number[] => names(given).map(whole(0, 2 ** 31 - 1))

const program = new Command('results')
  .description('train the runs that the results page compares, and write the page')
  .showHelpAfterError('(run with --help for the usage and an example)')
  .addHelpText(
    'after',
    '\nExample:\n  $ npm run results -- run --data data --seeds 1,2,3\n  $ npm run results -- page --out docs/results.md',
  )

program
  .command('run')
  .description('train the runs that are not in the store yet; it can be stopped at any time and then continues')
  .requiredOption('--data <dir>', 'folder with a folder per task: train.jsonl, and optionally dev.jsonl and task.json')
  .option('--tasks <names>', 'tasks to train (default: all)', names)
  .option('--methods <names>', `one or more of ${comparedMethods.join(', ')}`, methodNames, [...comparedMethods])
  .option('--seeds <numbers>', 'seeds; each one repeats all runs', seedNumbers, [1, 2, 3])
  .option('--max-rows <number>', 'most training examples of a task, drawn at random', whole(2, 1e9), 3000)
  .option(
    '--epochs <number>',
    'passes over the data, except for a head alone (default: 3 to 50, enough for 400 steps)',
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
    new Option('--prototype-dir <dir>', 'directory of the prototype that masks are trained on').default(
      settings.modelDir.value,
      "the bundled model's",
    ),
  )
  .addOption(
    new Option('--combine <kind>', "how one mask for all layers is combined with the prototype's layer masks")
      .choices(combinings)
      .default('none'),
  )
  .addOption(new Option('--provider <name>', 'execution provider').choices(learningProviders).default('cpu'))
  .option('--threads <number>', 'CPU threads; 0 means one per core', whole(0, 1024), 0)
  .addHelpText(
    'after',
    '\nExample:\n  $ npm run results -- run --data data --tasks sst2,trec --methods head,single --seeds 1',
  )
  .action(run)

program
  .command('page')
  .description('write the page and its plot from the stored runs')
  .addOption(storeOption())
  .option('--out <file>', 'the page; the plot is written next to it', 'docs/results.md')
  .addHelpText(
    'after',
    '\nExample:\n  $ npm run results -- page --store bench/results/runs.jsonl --out docs/results.md',
  )
  .action(async ({ store, out }: { store: string; out: string }) => {
    for (const file of await writePage(store, out)) console.log(file)
  })

program
  .command('few-shot')
  .description('learn from few examples, compare with logistic regression on the bare vectors, and write the page')
  .requiredOption('--data <dir>', 'folder with a folder per task: train.jsonl and dev.jsonl, which gives the test rows')
  .option('--tasks <names>', 'tasks that the prototype was not trained on', names, [
    'customer_reviews',
    'mpqa',
    'sick_entailment',
    'banking77',
  ])
  .option('--sizes <sizes>', 'rows of a sample, such as 200, or 8x for 8 of each label', sampleSizes, [
    ...[8, 16, 32, 64].map((count): SampleSize => ({ count, each: 'label' })),
    { count: 200, each: 'all' } as const,
  ])
  .option('--samples <number>', 'samples of each size', whole(1, 1000), 5)
  .option('--max-rows <number>', 'leave out samples of more rows', whole(2, 1e9), 3000)
  .option('--plain', 'also train a plain adapter on samples with a number of rows in all')
  .addOption(
    new Option('--model-dir <dir>', 'directory of the backbone').default(
      settings.modelDir.value,
      'the bundled all-MiniLM-L6-v2',
    ),
  )
  .option('--prototype <file>', 'prototype file (default: prototype.safetensors in the directory)')
  .option(
    '--masks, --masks-dir <dir>',
    'known masks (default: the folder "masks" next to --prototype; without it the bundled masks)',
  )
  .option('--text-prefix <text>', "text to put before every text (default: that of the model's directory)")
  .option('--store <file>', 'file of finished samples, one per line', 'bench/results/few-shot.jsonl')
  .option('--out <file>', 'the page; it is written after each sample', 'docs/few-shot.md')
  .addHelpText('after', '\nExample:\n  $ npm run results -- few-shot --data data --sizes 8x,200 --samples 2')
  .action(async ({ out, ...options }: Omit<FewShotOptions, 'print' | 'onStored'> & { out: string }) => {
    const write = async () => writeAtomically(out, Buffer.from(fewShotPage(await readFewShot(options.store))))
    await runFewShot({ ...options, print: console.log, onStored: write })
    await write()
    console.log(out)
  })

program
  .command('bundled')
  .description('train the bundled tasks with the defaults of learn, and compare them with the bundled files')
  .requiredOption('--data <dir>', 'folder with a folder per task: train.jsonl, dev.jsonl, and optionally task.json')
  .requiredOption('--out <dir>', 'folder for the task files; tasks that it has already are not trained again')
  .option('--tasks <names>', 'bundled tasks to train (default: all)', names)
  .option('--max-rows <number>', 'most training examples of a task, drawn at random', whole(2, 1e9), 3000)
  .option('--prototype <file>', 'prototype file (default: the bundled one)')
  .option(
    '--masks, --masks-dir <dir>',
    'masks to start from (default: the folder "masks" next to --prototype; without it the bundled masks)',
  )
  .addHelpText('after', '\nExample:\n  $ npm run results -- bundled --data data --out new-masks')
  .action(async (options: Omit<BundledOptions, 'print'>) => {
    console.log(bundledTable(await trainBundledTasks({ ...options, print: console.error })))
  })

program
  .command('linear-models')
  .description('learn several labels per text, and numbers, and compare with linear models on the bare vectors')
  .requiredOption('--data <dir>', 'folder with NAME-train.jsonl and NAME-test.jsonl for each data set')
  .requiredOption('--sets <names>', 'names of the data sets', names)
  .option('--rows <number>', 'training rows: the first ones of each training file', whole(2, 1e9), 600)
  .option('--splits <number>', 'the split of the files, and further ones at random', whole(1, 1000), 1)
  .option('--threads <number>', 'CPU threads; 0 means one per core', whole(0, 1024), 0)
  .addHelpText('after', '\nExample:\n  $ npm run results -- linear-models --data data --sets ml,ms,rlog --splits 3')
  .action(async (options: Omit<LinearModelsOptions, 'print'>) => {
    console.log(linearModelsTable(await compareLinearModels({ ...options, print: console.error })))
  })

async function run(options: RunnerOptions): Promise<void> {
  const line = new ProgressLine(process.stderr)
  const print = (text: string) => line.print(text)
  const { stored, skipped, failed, stopped } = await untilInterrupted(
    (signal) =>
      runAll(
        options,
        {
          print,
          show: (progress, place, secondsAfter) =>
            line.show(progress, (sentence) => {
              const all = secondsAfter === undefined ? undefined : progress.millisecondsLeft + 1000 * secondsAfter
              return `${place}: ${sentence} in this run, ${all === undefined ? 'not known yet' : `about ${duration(all)}`} in total`
            }),
        },
        signal,
      ),
    () => line.print('stopping after the current step; the next call repeats this run'),
  )
  const state = stopped ? 'stopped' : 'done'
  line.print(`${state}: ${stored} runs stored now, ${skipped} earlier${failed > 0 ? `, ${failed} failed` : ''}`)
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
