// The command line: serve, learn, evaluate, train, inspect, backup and tenants. Each command imports what it needs when it runs.

import { Command, CommanderError, Option } from 'commander'
import {
  environmentVariableOf,
  flagOf,
  loadConfig,
  settingNames,
  settings,
  shownDefault,
  unknownVariables,
} from '../config.js'
import { methodDefaults, trainingMethods, weightRates } from '../learn/training-methods.js'
import { version } from '../package.js'
import { Problem } from '../problem.js'
import type { EvaluateFlags } from './evaluate.js'
import type { LearnFlags } from './learn.js'
import { addTenantCommands } from './tenant-options.js'
import type { TrainFlags } from './train.js'
import {
  addEvaluationOptions,
  addSingleTaskOptions,
  addTrainingOptions,
  combineOption,
  positive,
  probability,
  share,
  whole,
} from './training-options.js'

const byMethod = (what: 'density' | 'scoreRate') =>
  `multi ${methodDefaults.multi[what]}, single ${methodDefaults.single[what]}`

/** Exit code of a command line that is wrong, as shells and most programs have it. */
const usageError = 2

const program = new Command('propetl')
  .description('One frozen transformer, one shared module, and a few kilobytes of mask bits per task.')
  .version(version, '-V, --version', 'print the version')
  .showHelpAfterError('(run with --help for the usage and an example)')
  .exitOverride()

const serve = program
  .command('serve')
  .description('serve the model and its tasks over HTTP')
  .addHelpText(
    'after',
    '\nA flag goes before its environment variable.\n\nExample:\n' +
      '  $ propetl serve --port 9000 --data-dir /var/lib/propetl\n' +
      '  $ curl localhost:9000/tasks/sst2/predict -H \'content-type: application/json\' -d \'{"inputs":"a gorgeous film"}\'',
  )
for (const name of settingNames) {
  const { kind, meaning } = settings[name]
  if (kind.kind === 'secret') continue
  const choices = kind.kind === 'choice' ? ` One of: ${kind.choices.join(', ')}.` : ''
  const value = kind.kind === 'switch' ? '' : ` <${kind.kind === 'whole' ? 'number' : 'value'}>`
  serve.option(
    `${flagOf(name)}${value}`,
    `${meaning}${choices} (default: ${shownDefault(name)}; env: ${environmentVariableOf(name)})`,
  )
}
serve.action(async (given: Record<string, string | true>) => {
  const flags = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, String(value)]))
  const load = () => loadConfig(flags, process.env)
  const config = load()
  const unknown = unknownVariables(process.env)
  if (unknown.length > 0)
    console.error(
      `propetl: ${unknown.join(', ')}: no such setting; it has no effect (\`propetl serve --help\` lists them)`,
    )
  const { serve } = await import('./serve.js')
  await serve(config, load)
})

addTrainingOptions(
  addSingleTaskOptions(
    program
      .command('learn')
      .description("learn a new task's mask and head on the model's frozen prototype, and write its task file")
      .argument('<data>', 'rows to learn from, CSV, TSV or JSON lines: "text", optional "text_pair", and "label"')
      .requiredOption('--out <file>', "the task file to write; its name is the task's id"),
  ),
)
  .option('--density <share>', 'share of a mask that is 1', share, 0.5)
  .option('--score-rate <rate>', "learning rate of the masks' scores", positive, 0.05)
  .addOption(
    new Option('--mask-rows <kind>', 'a mask for each layer, or one for all')
      .choices(['layer', 'one'])
      .default('layer'),
  )
  .addOption(combineOption)
  .option(
    '--threshold <probability>',
    'from which on a label of a multi-label classification applies, kept in the task file (default: 0.5)',
    probability,
  )
  .option('--no-normalize', 'leave the vectors of a feature extraction at their length; else they get an L2 norm of 1')
  .option('--description <text>', 'kept in the task file')
  .option('--resume <file>', 'go on from the mask and head of a task file that was learned before')
  .option('--no-baseline', 'do not learn a head alone, or score the bare backbone, to compare with')
  .option('--json', 'print the report as JSON')
  .addHelpText(
    'after',
    '\nThe labels tell the problem type: names, numbers with fractions, arrays of names, or arrays of words with a label\n' +
      'for each. In CSV and TSV, say --problem-type where a cell lists more: labels separated by commas (multi-label), or\n' +
      'words and their labels separated by white space (token classification). A feature_extraction is learned from pairs\n' +
      'of texts with a number that says how alike they are.\n\nExamples:\n' +
      '  $ propetl learn reviews.csv --out reviews.safetensors\n' +
      '  $ curl -X PUT --data-binary @reviews.safetensors localhost:8080/tasks/reviews\n' +
      '  $ propetl learn names.csv --problem-type token_classification --out names.safetensors',
  )
  .action(async (data: string, flags: LearnFlags) => {
    const { learn } = await import('./learn.js')
    console.log(await learn(data, flags))
  })

addEvaluationOptions(
  program
    .command('evaluate')
    .description('score a task on labelled rows, with a confidence interval')
    .argument('<task>', 'a task file, or the address of a task on a server')
    .argument('<data>', 'labelled rows, as for learn'),
)
  .addOption(
    new Option('--numerics <kind>', 'what a file is run in, as for serve')
      .choices(settings.numerics.kind.choices)
      .default(settings.numerics.value),
  )
  .option('--json', 'print JSON')
  .addHelpText(
    'after',
    '\nExample:\n  $ propetl evaluate reviews.safetensors test.csv\n' +
      '  $ propetl evaluate http://localhost:8080/tasks/reviews test.csv\n\nA server that asks for a key gets that of the environment variable PROPETL_KEY.',
  )
  .action(async (task: string, data: string, flags: EvaluateFlags) => {
    const { evaluate } = await import('./evaluate.js')
    console.log(await evaluate(task, data, flags))
  })

addTrainingOptions(
  program
    .command('train')
    .description('learn a prototype on one task or on several together, or what it is held against')
    .argument('<data...>', 'a task each: a file of rows, or a folder with train.jsonl, dev.jsonl and task.json')
    .option('--out <dir>', 'folder to write prototype.safetensors and masks/<task>.safetensors to'),
)
  .option('--density <share>', `share of a mask that is 1 (default: ${byMethod('density')})`, share)
  .option('--score-rate <rate>', `learning rate of the masks' scores (default: ${byMethod('scoreRate')})`, positive)
  .addOption(
    new Option(
      '--method <name>',
      'multi: a prototype under a mask a layer and a mask a task; single: under a mask a layer; ' +
        'plain: weights of its own in every layer; head: no module (default: multi for several tasks, else single)',
    ).choices(trainingMethods),
  )
  .addOption(
    new Option('--combine <kind>', 'how layer and task masks meet').choices(['or', 'and', 'add']).default('or'),
  )
  .option(
    '--finish-epochs <number>',
    'times that every row is seen again when, after learning together, each task goes on alone with its mask and head',
    whole(0, 10_000),
    0,
  )
  .addOption(
    new Option('--module <kind>', 'what the prototype is').choices(Object.keys(weightRates)).default('adapter'),
  )
  .option('--bottleneck <size>', "an adapter's inner size (default: 32)", whole(1, 100_000))
  .addOption(new Option('--activation <name>', "an adapter's (default: relu)").choices(['relu', 'gelu', 'tanh']))
  .option('--rank <size>', 'rank of LoRA (default: 16)', whole(1, 100_000))
  .option('--alpha <number>', 'what LoRA is scaled by is alpha/rank (default: 1.5 × rank)', positive)
  .option('--prefix-length <tokens>', "a prefix's keys and values (default: 32)", whole(1, 100_000))
  .option(
    '--weight-rate <rate>',
    `learning rate of weights (default: ${weightRates.adapter}, of a prefix ${weightRates.prefix})`,
    positive,
  )
  .option('--json', 'print the report as JSON')
  .addHelpText('after', '\nExample:\n  $ propetl train data/sst2 data/trec data/subj --out prototype')
  .action(async (data: string[], flags: TrainFlags) => {
    const { train: trainOn } = await import('./train.js')
    console.log(await trainOn(data, flags))
  })

program
  .command('inspect')
  .description('tell what is in a prototype or task file: shapes, density, overlap with the layer masks, storage')
  .argument('<file>', 'a prototype or a task file')
  .option('--prototype <file>', 'the prototype a task belongs to (default: that of the bundled model)')
  .option('--json', 'print JSON')
  .addHelpText('after', '\nExample:\n  $ propetl inspect masks/sst2.safetensors')
  .action(async (file: string, options: { prototype?: string; json?: boolean }) => {
    const { inspect } = await import('./inspect.js')
    console.log(await inspect(file, options))
  })

program
  .command('backup')
  .description('write the tasks, tenants and keys of a data directory to one file, also while a server runs on it')
  .argument('<file>', 'the file to write, which may not be there yet')
  .addOption(
    new Option('--data-dir <dir>', 'directory that the server stores in')
      .default(settings.dataDir.value)
      .env(environmentVariableOf('dataDir')),
  )
  .addHelpText(
    'after',
    '\nTo restore it, put the file into an empty data directory as tasks.lmdb, and start a server there.\n\nExample:\n' +
      '  $ propetl backup --data-dir /var/lib/propetl "tasks-$(date +%F).lmdb"',
  )
  .action(async (file: string, flags: { dataDir: string }) => {
    const { backup } = await import('./backup.js')
    console.log(await backup(file, flags))
  })

addTenantCommands(program)

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : usageError
  else if (error instanceof Problem) {
    console.error(`propetl: ${error.message}`)
    process.exitCode = 1
  } else throw error
}
