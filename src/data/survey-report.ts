// Describes a data file for people and for programs.

import { quotedList } from '../problem.js'
import type { FileSurvey, Repetition, Repetitions } from './file-survey.js'
import { hasNumbers, type LabelSpace } from './label-space.js'
import { describeSkipped } from './skipped-rows.js'

/** With fewer examples, a label can hardly be trained or scored. */
const enoughExamples = 5

const maxShownLabels = 20
const maxShownColumns = 20
const maxListedLabels = 1000

export const formatCount = (value: number): string => value.toLocaleString('en-US')

/** Labels with too few examples, the rarest first. */
const rareLabels = ({ labels }: FileSurvey) => {
  const { found } = labels
  if (found === undefined || hasNumbers(found)) return []
  return labels.counts.filter(({ count }) => count < enoughExamples).reverse()
}

/** The columns in use: text from "Text", label from "Label". */
function describeColumns({ columns, names }: FileSurvey): string {
  const { text, textPair, label, labelColumns } = columns
  const hasPair = names.includes(textPair)
  return [
    `text from "${text}"`,
    ...(hasPair ? [`second text from "${textPair}"`] : []),
    labelColumns ? `labels from ${quotedList(labelColumns, maxShownColumns)}` : `label from "${label}"`,
  ].join(', ')
}

function unusedColumns({ columns, names }: FileSurvey): readonly string[] {
  const { text, textPair, label, labelColumns = [label] } = columns
  const used = new Set([text, textPair, ...labelColumns])
  return names.filter((name) => name !== '' && !used.has(name))
}

/** One line for the beginning of training. */
export const describeFile = (survey: FileSurvey): string =>
  `${survey.path}: ${survey.format}; ${describeColumns(survey)}`

/** What may be wrong in the file, each as a sentence that names it. */
export function surveyWarnings(survey: FileSurvey): readonly string[] {
  const { path, skipped, labels, repeated, conflicting, warnings } = survey
  const rare = rareLabels(survey)
  return [
    ...warnings,
    ...[...skipped.map((reason) => describeSkipped(path, reason)), ...labels.warnings].map(
      (what) => `${path}: ${what}`,
    ),
    ...(rare.length > 0 ? [`${path}: ${describeRare(rare)}`] : []),
    ...(conflicting.count > 0
      ? [
          `${path}: ${formatCount(conflicting.count)} of ${formatCount(repeated.count)} repeated texts have another label ` +
            `than before (${shownPairs(survey, conflicting)})`,
        ]
      : []),
  ]
}

function describeRare(rare: readonly { readonly label: string; readonly count: number }[]): string {
  const shown = rare.slice(0, maxShownLabels).map(({ label, count }) => `${JSON.stringify(label)} (${count})`)
  const more = rare.length > shown.length ? ` and ${formatCount(rare.length - shown.length)} more` : ''
  return `${formatCount(rare.length)} ${rare.length === 1 ? 'label has' : 'labels have'} fewer than ${enoughExamples} examples: ${shown.join(', ')}${more}`
}

const shownPairs = ({ placeName }: FileSurvey, { count, shown }: Repetitions): string =>
  shown.map(({ first, second }) => `${placeName}s ${first} and ${second}`).join(', ') +
  (count > shown.length ? ', …' : '')

/** Lengths of texts in tokens, of all examples or of a sample of them. */
export interface TokenLengths {
  readonly examples: number
  readonly median: number
  readonly percentile95: number
  readonly longest: number
  /** Tokens to which longer texts are cut. */
  readonly limit: number
  readonly cut: number
}

export interface CheckedFile {
  readonly survey: FileSurvey
  /** Undefined if a task cannot be trained on the file. */
  readonly space?: LabelSpace
  /** Why a task cannot be trained on the file. */
  readonly error?: string
  readonly lengths?: TokenLengths
  readonly dev?: { readonly path: string; readonly examples: number; readonly shared: Repetitions }
}

export function describeCheck({ survey, space, error, lengths, dev }: CheckedFile): string {
  const { path, rows, examples, skipped, labels, repeated, conflicting, format } = survey
  const unused = unusedColumns(survey)
  const rare = rareLabels(survey)
  const facts: readonly (readonly [name: string, ...values: (string | false | undefined)[]])[] = [
    ['file', path],
    ['format', format],
    ['columns', describeColumns(survey)],
    ['not used', unused.length > 0 && quotedList(unused, maxShownColumns)],
    ['rows', `${formatCount(rows)}${rows > examples ? `, ${formatCount(rows - examples)} of them skipped` : ''}`],
    ['skipped', ...skipped.map((reason) => describeSkipped(path, reason))],
    ['problem type', labels.found ?? 'not known'],
    ['labels', space && (space.range ? `numbers from ${space.range[0]} to ${space.range[1]}` : describeLabels(survey))],
    ['tags', space?.tagScheme && describeTags(space.tagScheme)],
    ['rare labels', space && rare.length > 0 && describeRare(rare)],
    [
      'repeated texts',
      repeated.count > 0 &&
        `${formatCount(repeated.count)} ${repeated.count === 1 ? 'row has' : 'rows have'} the text of an earlier row ` +
          `(${shownPairs(survey, repeated)})`,
    ],
    [
      'other labels',
      conflicting.count > 0 &&
        `${formatCount(conflicting.count)} of them with another label (${shownPairs(survey, conflicting)})`,
    ],
    ['dev examples', dev && describeDev(survey, dev)],
    ['tokens', lengths && describeLengths(lengths, examples)],
    ['warning', ...survey.warnings, ...labels.warnings],
    ['error', error],
  ]
  return facts.flatMap(([name, ...values]) => linesOf(name, values)).join('\n')
}

/** A line for each value that there is. The first one has the name. */
const linesOf = (name: string, values: readonly (string | false | undefined)[]): readonly string[] =>
  values
    .filter((value) => typeof value === 'string')
    .map((value, at) => `${(at === 0 ? name : '').padEnd(22)} ${value}`)

function describeLabels({ labels }: FileSurvey): string {
  const { counts } = labels
  const shown = counts
    .slice(0, maxShownLabels)
    .map(({ label, count }) => `${JSON.stringify(label)} ${formatCount(count)}`)
  const more = counts.length - shown.length
  return `${formatCount(counts.length)}: ${shown.join(', ')}${more > 0 ? ` and ${formatCount(more)} more` : ''}`
}

/** All schemes are read as IOB2. */
export const describeTags = (scheme: string): string => (scheme === 'IOB2' ? scheme : `${scheme}, read as IOB2`)

const describeDev = (
  { placeName }: FileSurvey,
  { path, examples, shared }: { readonly path: string; readonly examples: number; readonly shared: Repetitions },
): string => {
  const places = shared.shown.map(({ first, second }) => `${placeName} ${second} has the text of ${placeName} ${first}`)
  const more = shared.count > places.length ? ', …' : ''
  return (
    `${formatCount(examples)} in ${path}, ${formatCount(shared.count)} of them with the text of a training example` +
    (shared.count > 0 ? ` (${places.join(', ')}${more})` : '')
  )
}

function describeLengths({ examples, median, percentile95, longest, limit, cut }: TokenLengths, all: number): string {
  const of = examples < all ? ` of ${formatCount(examples)} examples drawn at random` : ''
  return (
    `median ${median}, 95 % have at most ${percentile95}, longest ${longest}${of}; ` +
    `${formatCount(cut)} of ${formatCount(examples)} ${cut === 1 ? 'is' : 'are'} cut at ${limit}`
  )
}

const repetitionsAsJson = ({ count, shown }: Repetitions) => ({
  count,
  shown: shown.map(({ first, second }: Repetition) => [first, second]),
})

export function checkAsJson({ survey, space, error, lengths, dev }: CheckedFile): Record<string, unknown> {
  const { path, format, columns, rows, examples, skipped, labels, repeated, conflicting, warnings, names } = survey
  const { counts } = labels
  return {
    file: path,
    format,
    columns: {
      text: columns.text,
      ...(names.includes(columns.textPair) && { text_pair: columns.textPair }),
      ...(columns.labelColumns ? { labels: columns.labelColumns } : { label: columns.label }),
    },
    unused_columns: unusedColumns(survey),
    rows,
    examples,
    skipped,
    problem_type: labels.found ?? null,
    label_count: space?.range ? 0 : counts.length,
    labels: space?.range ? [] : counts.slice(0, maxListedLabels),
    ...(space?.range && { range: space.range }),
    ...(space?.tagScheme && { tag_scheme: space.tagScheme }),
    rare_labels: rareLabels(survey).slice(0, maxListedLabels),
    repeated_texts: repetitionsAsJson(repeated),
    conflicting_labels: repetitionsAsJson(conflicting),
    ...(dev && { dev: { file: dev.path, examples: dev.examples, in_both: repetitionsAsJson(dev.shared) } }),
    ...(lengths && {
      tokens: {
        examples: lengths.examples,
        median: lengths.median,
        percentile_95: lengths.percentile95,
        longest: lengths.longest,
        limit: lengths.limit,
        cut: lengths.cut,
      },
    }),
    warnings: [...warnings, ...labels.warnings],
    error: error ?? null,
  }
}
