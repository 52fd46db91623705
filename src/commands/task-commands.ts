// The commands that use or make one task file without training: `propetl evaluate`, `predict`, `embeddings` and `inspect`.
// Their options and help.

import { type Command, Option } from 'commander'
import type { EmbeddingsFlags } from './embeddings.js'
import type { EvaluateFlags } from './evaluate.js'
import { addHelp } from './help-text.js'
import type { PredictFlags } from './predict.js'
import {
  addEvaluationOptions,
  addTaskOptions,
  addTextOptions,
  modelDirOption,
  optionGroups,
  poolingOption,
} from './training-options.js'

const taskArgument = ['<task>', 'task file, or the URL of a task on a server'] as const
const keyNote = 'If the server requires an API key, set it in the environment variable PROPETL_KEY.'

export function addEvaluate(program: Command): void {
  const evaluate = program
    .command('evaluate')
    .description('score a task on labelled examples, with a confidence interval')
    .argument(...taskArgument)
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

export function addPredict(program: Command): void {
  const predict = program
    .command('predict')
    .description('add the predictions of a task to the rows of a data file')
    .argument(...taskArgument)
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

export function addEmbeddings(program: Command): void {
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

export function addInspect(program: Command): void {
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
