// `propetl evaluate`: scores a task on labelled examples, from its file or on a server. A file runs through the same code
// as in a server, so that both give the same score.

import { checkDataFile } from '../data/file-rows.js'
import { throwInvalidData } from '../data/invalid-data.js'
import { type LabelSpace, shownLabels } from '../data/label-space.js'
import { UnlearnedLabels } from '../data/unlearned-labels.js'
import { evaluateFile } from '../evaluation/evaluate-file.js'
import { describeConfusion, findConfusions } from '../learn/confusions.js'
import type { Evaluation } from '../learn/evaluated-examples.js'
import { metricFor } from '../learn/evaluation.js'
import { reliabilityOf } from '../learn/reliability.js'
import { allScores, scoresAsJson, shownScore } from '../learn/score-table.js'
import { Problem, quoted } from '../problem.js'
import { type JudgedExample, type ShownLabel, WorstExamples } from '../report/judged-examples.js'
import { type LabelTable, labelTable, type Scores } from '../report/label-scores.js'
import { matrixOf, type PageFacts, reportPage } from '../report/page.js'
import { type Fact, factLines, listed } from './fact-lines.js'
import { type Append, checkWritable, writeAtomically, writePiecesAtomically } from './output-file.js'
import { roundedScore } from './prediction-fields.js'
import { ProgressLine } from './progress-line.js'
import { listCell, type TableFormat, tableFormatOf, tableWriter } from './table-writer.js'
import { checkIsTask, openTask } from './task-argument.js'
import { columnsOf, type DataFlags, type TaskFlags } from './training-options.js'
import { shellWord } from './upload-command.js'

export interface EvaluateFlags extends DataFlags, TaskFlags {
  readonly json?: boolean
  /** Whether the text has a table of any number of labels. */
  readonly perLabel?: boolean
  readonly errors?: string
  readonly report?: string
}

/**
 * @param task a task file, or the URL of a task on a server: http://host:8080/tasks/reviews
 * @returns the text to print
 * @throws Problem
 */
export async function evaluate(task: string, path: string, flags: EvaluateFlags): Promise<string> {
  const line = new ProgressLine(process.stderr)
  const onWarning = (what: string) => line.print(`warning: ${what}`)
  checkIsTask(task)
  const errorsFormat = flags.errors === undefined ? 'csv' : tableFormatOf('--errors', flags.errors)
  for (const file of [flags.errors, flags.report]) if (file !== undefined) await checkWritable(file)
  await checkDataFile(path)
  const opened = await openTask(task, flags, onWarning)
  const unlearned = new UnlearnedLabels()
  const space: LabelSpace = { ...opened.space, unlearned }
  try {
    const metric = metricFor(space, flags.metric)
    const worst = new WorstExamples(maxWorst)
    const evaluateAll = (onJudged: (example: JudgedExample) => Promise<void>) =>
      evaluateFile(
        { ...opened, space },
        path,
        columnsOf(flags),
        onWarning,
        (file, rows) => line.reading(file, rows),
        async (example) => {
          worst.add(example)
          await onJudged(example)
        },
      )
    const evaluation =
      flags.errors === undefined
        ? await evaluateAll(async () => {})
        : await writePiecesAtomically(flags.errors, (append) => evaluateAll(errorWriter(space, errorsFormat, append)))
    checkSomeLearned(space, unlearned, evaluation, path)
    if (unlearned.warning) onWarning(unlearned.warning)
    line.end()
    const rows = evaluation.starts.length - 1
    if (rows === 0) throw new Problem('invalid_data', `${path}: the file has no examples`)
    const confusions = findConfusions(space, evaluation)
    const facts: PageFacts = {
      task,
      data: path,
      rows,
      scores: allScores(metric, space, evaluation, flags.seed),
      table: labelTable(space, evaluation),
      confusions,
      matrix: matrixOf(space, evaluation, confusions),
      reliability: reliabilityOf(space, evaluation),
      losses: lossesOf(opened.metrics),
      worst: worst.list,
    }
    if (flags.report !== undefined) await writeAtomically(flags.report, Buffer.from(reportPage(facts)))
    return flags.json ? jsonReport(facts) : textReport(facts, flags)
  } finally {
    await opened.close()
  }
}

/** Examples with errors in a report. */
const maxWorst = 50

/** Writes the wrong examples. */
function errorWriter(
  { problem, labels }: LabelSpace,
  format: TableFormat,
  append: Append,
): (example: JudgedExample) => Promise<void> {
  const columns = ['place', 'text', 'text_pair', 'expected', 'predicted', 'score']
  const writer = tableWriter(format, columns)
  const namesHaveCommas = labels.some((label) => label.includes(','))
  const shown = (label: ShownLabel) => {
    if (format === 'jsonl' || typeof label !== 'object') return label
    return problem === 'token_classification' ? label.join(' ') : listCell(label, namesHaveCommas)
  }
  let start = writer.header
  return async ({ place, text, textPair, expected, predicted, score, isWrong }) => {
    const labels = { expected: shown(expected), predicted: shown(predicted) }
    const line = isWrong
      ? writer.line({ place, text, text_pair: textPair, ...labels, score: score && roundedScore(score) })
      : ''
    if (start + line !== '') await append(start + line)
    start = ''
  }
}

/** The losses that `learn` stores in a task file. */
function lossesOf({ losses }: Readonly<Record<string, unknown>>): readonly number[] {
  return Array.isArray(losses) && losses.every((loss) => typeof loss === 'number') ? losses : []
}

function jsonReport({ table, matrix: _, losses: __, worst: ___, reliability, scores, ...facts }: PageFacts): string {
  const [first] = scores
  const { labels, unit, ...averages } = table ?? {}
  return JSON.stringify({
    ...facts,
    ...first,
    scores: scoresAsJson(scores),
    ...(table && { unit, labels, averages }),
    calibration: reliability,
  })
}

const maxShownLabels = 20
const maxShownConfusions = 3

function textReport(facts: PageFacts, { perLabel, errors, report }: EvaluateFlags): string {
  const { rows, scores, table, confusions, reliability } = facts
  const remarks: Fact[] = [
    ...listed('most confused', confusions.slice(0, maxShownConfusions).map(describeConfusion)),
    ...(reliability ? [['calibration error', number(reliability.error)] as const] : []),
    ...(errors === undefined ? [] : [['wrong examples', shellWord(errors)] as const]),
    ...(report === undefined ? [] : [['report', shellWord(report)] as const]),
  ]
  return [
    `${rows} examples; 95 % confidence intervals in parentheses`,
    factLines(scores.map((score) => [score.metric, shownScore(score)])),
    ...(table && (perLabel || table.labels.length <= maxShownLabels) ? tableLines(table) : []),
    ...(remarks.length > 0 ? [factLines(remarks)] : []),
  ].join('\n')
}

function tableLines({ labels, unit, micro, macro, weighted }: LabelTable): string[] {
  const rows: (readonly [string, Scores])[] = [
    ...labels.map((scores) => [scores.label, scores] as const),
    ['(all together: micro)', micro],
    ['(mean: macro)', macro],
    ['(mean: weighted)', weighted],
  ]
  const width = Math.max(22, ...rows.map(([name]) => name.length))
  return [
    `${'label'.padEnd(width)} precision  recall  f1      ${unit}`,
    ...rows.map(
      ([name, { precision, recall, f1, support }]) =>
        `${name.padEnd(width)} ${number(precision)}     ${number(recall)}  ${number(f1)}  ${support}`,
    ),
  ]
}

const number = (value: number) => value.toFixed(4)

/** @throws Problem `invalid_data` if the file belongs to another task, because none of its labels was learned */
function checkSomeLearned(
  { problem, labels }: LabelSpace,
  unlearned: UnlearnedLabels,
  { actual }: Evaluation,
  path: string,
): void {
  const [name] = unlearned.names
  if (name === undefined || problem === 'multi_label_classification') return
  if (actual.every((label) => label >= labels.length))
    throwInvalidData(
      path,
      `none of its labels, such as ${quoted(name)}, is a label of the task; expected ${shownLabels(labels)}`,
    )
}
