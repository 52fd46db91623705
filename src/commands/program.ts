// The command line of propetl. Each command imports its code only when it runs.

import { Command, CommanderError, Option } from 'commander'
import { loadConfig, unknownVariables } from '../config.js'
import { classWeightings } from '../learn/decisions.js'
import { methodDefaults, trainingMethods, weightRates } from '../learn/training-methods.js'
import { version } from '../package.js'
import { combinings, problemTypes } from '../petl/task.js'
import { Problem } from '../problem.js'
import { environmentVariableOf, flagOf, settingGroups, settingNames, settings, shownDefault } from '../settings.js'
import type { CheckFlags } from './check.js'
import type { EmbeddingsFlags } from './embeddings.js'
import type { EvaluateFlags } from './evaluate.js'
import { addHelp } from './help-text.js'
import { Interrupted } from './interrupt.js'
import type { LearnFlags } from './learn.js'
import type { PredictFlags } from './predict.js'
import { addTenantCommands } from './tenant-options.js'
import type { TrainFlags } from './train.js'
import {
  addColumnOptions,
  addDataOptions,
  addEvaluationOptions,
  addModelOptions,
  addSingleTaskOptions,
  addTaskOptions,
  addTextOptions,
  addTrainingOptions,
  modelDirOption,
  optionGroups,
  poolingOption,
  positive,
  probability,
  prototypeOption,
  share,
  whole,
} from './training-options.js'

/** Exit codes, as in most programs. */
const exitCodes = { failure: 1, usageError: 2, interrupted: 130 } as const

const keyNote = 'If the server requires an API key, set it in the environment variable PROPETL_KEY.'

const program = new Command('propetl')
  .description('Serves many text classifiers with one frozen transformer and a few kilobytes of mask bits per task.')
  .version(version, '-V, --version', 'print the version')
  .showHelpAfterError('(run with --help for the usage and an example)')
  .helpOption('-h, --help', 'show the usage, the options and examples')
  .exitOverride()
addHelp(program, {
  prints: 'Run "propetl <command> --help" for the options of a command, what it prints, and examples.',
  notes: [
    `Exit code: 0 for success, ${exitCodes.failure} for a failure, ${exitCodes.usageError} for a wrong command line or ` +
      `setting, ${exitCodes.interrupted} if interrupted without a result.`,
  ],
  examples: ['propetl serve', 'propetl learn reviews.csv --out reviews.safetensors'],
})
addServe(program.commandsGroup('Serve:'))
program.commandsGroup('Train, evaluate and predict:')
addCheck(program)
addLearn(program)
addEvaluate(program)
addPredict(program)
addTrain(program)
addEmbeddings(program)
addInspect(program.commandsGroup('Administer:'))
addBackup(program)
addTenantCommands(program)
program.helpCommand('help [command]', 'show the help of a command')

function addServe(program: Command): void {
  const serve = addHelp(program.command('serve').description('serve the model and its tasks over HTTP'), {
    prints: 'Prints its log: one JSON object per line, or plain lines on a terminal. The line "ready" has the address.',
    notes: [
      'Every option can also be set by an environment variable: --max-inputs by PROPETL_MAX_INPUTS. An option takes ' +
        'precedence over its variable, and the variable over the settings file. The operator key is set only by ' +
        `${environmentVariableOf('operatorKey')}, because other users of the machine can see command lines.`,
    ],
    examples: [
      'propetl serve --port 9000 --data-dir /var/lib/propetl',
      'curl localhost:9000/tasks/sst2/predict -H \'content-type: application/json\' -d \'{"inputs":"a gorgeous film"}\'',
    ],
  })
  for (const group of settingGroups) {
    serve.optionsGroup(`${group}:`)
    for (const name of settingNames) {
      const { group: groupOfSetting, kind, meaning } = settings[name]
      if (groupOfSetting !== group || kind.kind === 'secret') continue
      const choices = kind.kind === 'choice' ? ` One of: ${kind.choices.join(', ')}.` : ''
      const value = kind.kind === 'switch' ? '' : ` <${kind.kind === 'whole' ? 'number' : 'value'}>`
      const flags = name === 'modelDir' ? `--model, ${flagOf(name)}` : flagOf(name)
      serve.option(`${flags}${value}`, `${meaning}${choices} (default: ${shownDefault(name)})`)
    }
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
    const { checkModel } = await import('./model-directory.js')
    checkModel(config)
    const { serve } = await import('./serve.js')
    await serve(config, load)
  })
}

function addLearn(program: Command): void {
  const learn = program
    .command('learn')
    .description('train a task on labelled examples, on top of the frozen prototype, and write its task file')
    .argument(
      '<data>',
      'examples in CSV, TSV, JSON, JSON Lines or Parquet, with the columns "text", "label" and optionally "text_pair"',
    )
    .optionsGroup(optionGroups.output)
    .requiredOption('--out <file>', 'task file to write; its name without the extension is the id of the task')
    .option('--description <text>', 'description to store in the task file')
    .option('--json', 'print the report as JSON')
  addSingleTaskOptions(addDataOptions(learn))
  addModelOptions(learn, 'directory or Hub name of the backbone')
    .addOption(prototypeOption())
    .option(
      '--threshold <probability>',
      'least probability at which a label of a multi-label classification applies (default: a threshold for each label, ' +
        'by its probabilities for held-out examples)',
      probability,
    )
    .addOption(
      new Option(
        '--class-weights <kind>',
        'how much more rare labels of a single-label classification count: auto follows the metric',
      )
        .choices(classWeightings)
        .default('auto'),
    )
    .option('--no-normalize', 'do not scale the vectors of a feature extraction to an L2 norm of 1')
    .optionsGroup(optionGroups.masks)
    .option('--density <share>', 'share of mask bits that are 1', share, 0.5)
    .addOption(
      new Option('--mask-rows <kind>', 'one mask per layer, or one for all layers')
        .choices(['layer', 'one'])
        .default('layer'),
    )
    .addOption(
      new Option('--combine <kind>', "combine the mask with the prototype's layer masks")
        .choices(combinings)
        .default('none'),
    )
  addTrainingOptions(learn)
    .option('--score-rate <rate>', "learning rate of the masks' scores (default: 0.01)", positive)
    .option(
      '--time-budget <seconds>',
      'most time that training may take; fewer epochs are planned if they would take longer (default: no limit)',
      positive,
    )
    .option('--start-masks <dir>', 'task files whose masks training may start from (default: the bundled tasks)')
    .option('--resume <file>', 'continue from the mask and head of a task file')
    .option(
      '--no-baseline',
      'skip the baseline: a head without a mask or, for a task without a head, the bare backbone',
    )
    .action(async (data: string, flags: LearnFlags) => {
      const { learn } = await import('./learn.js')
      console.log(await learn(data, flags))
    })
  addHelp(learn, {
    prints:
      'Prints the dev score, the score without a mask, the most frequent confusions, and the command that uploads the task.',
    notes: [
      'The problem type follows from the labels. Names: single-label classification. Numbers with fractions: regression. ' +
        'Arrays of names: multi-label classification. Arrays of words, with a label for each word: token classification.',
      'In cells, lists such as a;b need --problem-type multi_label_classification, and white space separates the words and ' +
        'the labels of a token_classification. A feature_extraction needs pairs of texts, ' +
        'with a number that says how similar they are.',
      'Ctrl-C stops training and keeps the best task so far: first a head without a mask, then the best mask.',
    ],
    examples: [
      'propetl learn reviews.csv --out reviews.safetensors',
      'curl -X PUT --data-binary @reviews.safetensors localhost:8080/tasks/reviews',
      'propetl learn names.csv --problem-type token_classification --out names.safetensors',
    ],
  })
}

function addCheck(program: Command): void {
  const check = program
    .command('check')
    .description('read data files as learn does, and report what is in them')
    .argument('<data...>', 'labelled examples, as for learn')
  addColumnOptions(check)
    .option('--dev <file>', 'file of dev examples; reports texts that are in both files')
    .addOption(
      new Option('--problem-type <type>', 'problem type (default: found from the labels)').choices(problemTypes),
    )
    .optionsGroup(optionGroups.model)
    .addOption(modelDirOption('directory of the model whose tokenizer counts the tokens'))
    .option('--max-length <tokens>', 'count the texts that are longer', whole(8, 100_000), 128)
    .optionsGroup(optionGroups.output)
    .option('--json', 'print the report of each file as one line of JSON')
    .action(async (data: string[], flags: CheckFlags) => {
      const { check } = await import('./check.js')
      const { text, ok } = await check(data, flags)
      console.log(text)
      if (!ok) process.exitCode = exitCodes.failure
    })
  addHelp(check, {
    prints:
      'Prints the format, the columns in use, the rows that are skipped and why, the problem type, the labels with their ' +
      'counts, repeated texts, and the lengths of the texts in tokens.',
    notes: ['Exit code: 1 if a file cannot be read, or if a task cannot be trained on it.'],
    examples: ['propetl check reviews.csv', 'propetl check train.parquet --dev dev.parquet --text-column review'],
  })
}

function addPredict(program: Command): void {
  const predict = program
    .command('predict')
    .description('add the predictions of a task to the rows of a data file')
    .argument('<task>', 'task file, or the URL of a task on a server')
    .argument('<data>', 'texts, in a file as for learn; labels are not needed')
    .optionsGroup(optionGroups.output)
    .option('--out <file>', 'CSV, TSV or JSON lines file to write (default: CSV to standard output)')
    .option('--scores', 'add the scores of all labels')
    .option('--json', 'print the summary as JSON; needs --out')
  addTaskOptions(addTextOptions(predict)).action(async (task: string, data: string, flags: PredictFlags) => {
    const { predict } = await import('./predict.js')
    const summary = await predict(task, data, flags)
    if (summary !== '') console.log(summary)
  })
  addHelp(predict, {
    prints: 'Prints the rows with their predictions, or with --out the number of rows, the new columns, and the time.',
    notes: [
      'The columns of the data file are kept, and the new columns follow: label and score; labels for several labels ' +
        'per text; value for a regression; entities (as JSON) for a token classification; vector for a feature ' +
        'extraction, only in JSON lines. A name that the file has already gets the prefix "predicted_".',
      'Rows keep their order. A row without text gets an empty prediction. Ctrl-C leaves an existing file unchanged.',
      keyNote,
    ],
    examples: [
      'propetl predict reviews.safetensors new.csv --out predicted.csv',
      'propetl predict http://localhost:8080/tasks/reviews new.csv --scores > predicted.csv',
    ],
  })
}

function addEvaluate(program: Command): void {
  const evaluate = program
    .command('evaluate')
    .description('score a task on labelled examples, with a confidence interval')
    .argument('<task>', 'task file, or the URL of a task on a server')
    .argument('<data>', 'labelled examples, as for learn')
  addTaskOptions(addEvaluationOptions(evaluate))
    .optionsGroup(optionGroups.output)
    .option('--per-label', 'print the scores of each label also if they are more than 20')
    .option('--errors <file>', 'CSV, TSV or JSON lines file to write: the wrongly predicted examples')
    .option('--report <file>', 'HTML page to write: charts, scores of each label, worst errors')
    .option('--json', 'print the result as JSON')
    .action(async (task: string, data: string, flags: EvaluateFlags) => {
      const { evaluate } = await import('./evaluate.js')
      console.log(await evaluate(task, data, flags))
    })
  addHelp(evaluate, {
    prints:
      'Prints the score with its 95 % confidence interval, precision, recall and F1 of each label, the most frequent ' +
      'confusions, and the calibration error.',
    notes: [keyNote],
    examples: [
      'propetl evaluate reviews.safetensors test.csv',
      'propetl evaluate http://localhost:8080/tasks/reviews test.csv',
      'propetl evaluate reviews.safetensors test.csv --errors wrong.csv --report report.html',
    ],
  })
}

function addTrain(program: Command): void {
  const byMethod = (what: 'density' | 'scoreRate') =>
    `multi ${methodDefaults.multi[what]}, single ${methodDefaults.single[what]}`
  const train = program
    .command('train')
    .description('train a prototype on one or several tasks, or a baseline to compare it with')
    .argument(
      '<data...>',
      'one task each: a data file, or a folder with train.jsonl and optionally dev.jsonl and task.json',
    )
    .optionsGroup(optionGroups.output)
    .option('--out <dir>', 'folder for prototype.safetensors and masks/<task>.safetensors')
    .option('--json', 'print the report as JSON')
  addDataOptions(train)
  addModelOptions(train, 'directory or Hub name of the backbone')
    .optionsGroup(optionGroups.module)
    .addOption(new Option('--module <kind>', 'kind of module').choices(Object.keys(weightRates)).default('adapter'))
    .option('--bottleneck <size>', 'inner size of an adapter (default: 32)', whole(1, 100_000))
    .addOption(
      new Option('--activation <name>', 'activation of an adapter (default: relu)').choices(['relu', 'gelu', 'tanh']),
    )
    .option('--rank <size>', 'rank of LoRA (default: 16)', whole(1, 100_000))
    .option('--alpha <number>', 'LoRA is scaled by alpha/rank (default: 1.5 × rank)', positive)
    .option('--prefix-length <tokens>', 'keys and values of a prefix (default: 32)', whole(1, 100_000))
    .optionsGroup(optionGroups.masks)
    .option('--density <share>', `share of mask bits that are 1 (default: ${byMethod('density')})`, share)
    .addOption(
      new Option('--combine <kind>', 'how layer masks and task masks are combined')
        .choices(['or', 'and', 'add'])
        .default('or'),
    )
  addTrainingOptions(train)
    .addOption(
      new Option(
        '--method <name>',
        'multi: a prototype with a mask per layer and a mask per task; single: with a mask per layer; ' +
          'plain: separate weights in every layer; head: no module (default: multi for several tasks, else single)',
      ).choices(trainingMethods),
    )
    .option(
      '--weight-rate <rate>',
      `learning rate of module weights (default: ${weightRates.adapter}; for a prefix ${weightRates.prefix})`,
      positive,
    )
    .option('--score-rate <rate>', `learning rate of the masks' scores (default: ${byMethod('scoreRate')})`, positive)
    .option(
      '--finish-epochs <number>',
      'epochs in which each task then trains its mask and head alone, with everything else frozen',
      whole(0, 10_000),
      0,
    )
    .action(async (data: string[], flags: TrainFlags) => {
      const { train } = await import('./train.js')
      console.log(await train(data, flags))
    })
  addHelp(train, {
    prints: 'Prints the dev score of each task, their mean, the storage in bits, and the files written.',
    notes: ['Ctrl-C stops training and keeps the best epoch so far.'],
    examples: [
      'propetl train data/sst2 data/trec data/subj --out prototype',
      'propetl train reviews.csv --module lora --model-dir bert-base-uncased --out bert-base-uncased',
    ],
  })
}

function addEmbeddings(program: Command): void {
  const embeddings = program
    .command('embeddings')
    .description("write the task file of a model's own embeddings, which needs no training and no prototype")
    .optionsGroup(optionGroups.output)
    .requiredOption('--out <file>', 'task file to write; its name without the extension is the id of the task')
    .option('--description <text>', 'description to store in the task file')
    .option('--json', 'print the report as JSON')
    .optionsGroup(optionGroups.model)
    .addOption(modelDirOption('directory or Hub name of the model'))
    .addOption(poolingOption())
    .addOption(
      new Option('--prompt <name>', 'prompt of a sentence-transformers directory that precedes each text').conflicts(
        'textPrefix',
      ),
    )
    .option('--text-prefix <text>', 'text that precedes each text (default: the default prompt of the directory)')
    .option(
      '--normalize',
      'scale vectors to an L2 norm of 1 (default: as a sentence-transformers directory says; otherwise yes)',
    )
    .option('--no-normalize', 'do not scale vectors')
    .action(async (flags: EmbeddingsFlags) => {
      const { embeddings } = await import('./embeddings.js')
      console.log(await embeddings(flags))
    })
  addHelp(embeddings, {
    prints: 'Prints the size of the vectors, and the command that uploads the task.',
    notes: [
      'A directory of sentence-transformers says how its vectors are pooled, projected and normalised. The task does the same.',
    ],
    examples: [
      'propetl embeddings --out embeddings.safetensors',
      'propetl embeddings --model BAAI/bge-small-en-v1.5 --out bge.safetensors',
    ],
  })
}

function addInspect(program: Command): void {
  const inspect = program
    .command('inspect')
    .description('show what a prototype or a task file contains')
    .argument('<file>', 'prototype or task file')
    .option('--prototype <file>', 'prototype of the task (default: that of the bundled model)')
    .option('--json', 'print the facts as JSON')
    .action(async (file: string, options: { prototype?: string; json?: boolean }) => {
      const { inspect } = await import('./inspect.js')
      console.log(await inspect(file, options))
    })
  addHelp(inspect, {
    prints: 'Prints shapes, labels, mask density, overlap with the layer masks, and storage.',
    examples: ['propetl inspect masks/sst2.safetensors'],
  })
}

function addBackup(program: Command): void {
  const backup = program
    .command('backup')
    .description('copy the tasks, tenants and keys of a data directory to one file, even while a server uses it')
    .argument('<file>', 'file to write; it must not exist')
    .addOption(
      new Option('--data-dir <dir>', 'data directory of the server')
        .default(settings.dataDir.value)
        .env(environmentVariableOf('dataDir')),
    )
    .action(async (file: string, flags: { dataDir: string }) => {
      const { backup } = await import('./backup.js')
      console.log(await backup(file, flags))
    })
  addHelp(backup, {
    prints: 'Prints the size of the file.',
    notes: [
      'To restore, copy the file into an empty data directory as tasks.lmdb, and start a server on that directory.',
    ],
    examples: ['propetl backup --data-dir /var/lib/propetl "tasks-$(date +%F).lmdb"'],
  })
}

// A reader such as "head" may close the pipe before everything is written.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit(0)
})
try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : exitCodes.usageError
  else if (error instanceof Interrupted) fail(error.message, exitCodes.interrupted)
  else if (error instanceof Problem)
    fail(error.message, error.code === 'invalid_setting' ? exitCodes.usageError : exitCodes.failure)
  else throw error
}

function fail(message: string, exitCode: number): void {
  console.error(`propetl: ${message}`)
  process.exitCode = exitCode
}
