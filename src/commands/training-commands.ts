// The commands `propetl check`, `learn` and `train`: their options and help.

import { type Command, Option } from 'commander'
import { classWeightings } from '../learn/decisions.js'
import { methodDefaults, trainingMethods } from '../learn/training-methods.js'
import { moduleKinds, petlKinds } from '../petl/kinds.js'
import { combinings, problemTypes } from '../petl/task.js'
import type { CheckFlags } from './check.js'
import { exitCodes } from './exit-codes.js'
import { addHelp } from './help-text.js'
import type { LearnFlags } from './learn.js'
import { addModuleOptions } from './module-options.js'
import type { TrainFlags } from './train.js'
import {
  addColumnOptions,
  addDataOptions,
  addModelOptions,
  addSingleTaskOptions,
  addTrainingOptions,
  modelDirOption,
  optionGroups,
  positive,
  probability,
  prototypeOption,
  share,
  whole,
} from './training-options.js'

export function addCheck(program: Command): void {
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

export function addLearn(program: Command): void {
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
    .option(
      '--score-rate <rate>',
      "learning rate of the masks' scores (default: 0.003; 0.01 from a random mask; 0.05 without a linear head)",
      positive,
    )
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

export function addTrain(program: Command): void {
  const byMethod = (what: 'density' | 'scoreRate') =>
    `multi ${methodDefaults.multi[what]}, single ${methodDefaults.single[what]}`
  const weightRates = moduleKinds.map((kind) => `${kind} ${petlKinds[kind].weightRate}`).join(', ')
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
  addModelOptions(train, 'directory or Hub name of the backbone').optionsGroup(optionGroups.module)
  addModuleOptions(train)
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
    .option('--weight-rate <rate>', `learning rate of module weights (default: ${weightRates})`, positive)
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
