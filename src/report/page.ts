// The report of an evaluation as one HTML page. It loads nothing and runs no scripts.

import { type LabelSpace, labelNames } from '../data/label-space.js'
import type { Confusion } from '../learn/confusions.js'
import type { Predictions } from '../learn/evaluated-examples.js'
import type { Reliability } from '../learn/reliability.js'
import { type Score, shownScore } from '../learn/score-table.js'
import { shortened } from '../problem.js'
import { confusionMatrix, learningCurve, type Matrix, reliabilityDiagram } from './charts.js'
import { html, type Markup, nothing } from './html.js'
import type { JudgedExample, ShownLabel } from './judged-examples.js'
import type { LabelTable, Scores } from './label-scores.js'

export interface PageFacts {
  readonly task: string
  readonly data: string
  readonly rows: number
  /** Of all metrics that apply, the chosen one first. */
  readonly scores: readonly Score[]
  readonly table: LabelTable | undefined
  readonly confusions: readonly Confusion[]
  readonly matrix: Matrix | undefined
  readonly reliability: Reliability | undefined
  /** Losses of held-out examples before training and after each epoch; empty if the task does not have them. */
  readonly losses: readonly number[]
  readonly worst: readonly JudgedExample[]
}

/** Bounds of the page. */
const most = { labels: 300, confusions: 20, matrixLabels: 30, textLength: 400 } as const

export function reportPage(facts: PageFacts): string {
  const { task, data, rows, scores, reliability } = facts
  const title = `Evaluation of ${task}`
  return html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${title}</h1>
<dl>
<dt>Data</dt><dd>${data}, ${count(rows)} examples; 95 % confidence intervals in parentheses</dd>
${scores.map((score) => html`<dt>${score.metric}</dt><dd>${shownScore(score)}</dd>`)}
${reliability ? html`<dt>Calibration error</dt><dd>${number(reliability.error)}</dd>` : nothing}
</dl>
${labelSection(facts)}
${confusionSection(facts)}
${calibrationSection(facts)}
${curveSection(facts)}
${worstSection(facts)}
</main>
</body>
</html>
`.text
}

function labelSection({ table }: PageFacts): Markup {
  if (table === undefined) return nothing
  const { labels, unit } = table
  const shown = labels.length > most.labels ? [...labels].sort((a, b) => a.f1 - b.f1).slice(0, most.labels) : labels
  const cells = ({ precision, recall, f1, support }: Scores) =>
    html`<td>${number(precision)}</td><td>${number(recall)}</td><td>${number(f1)}</td><td>${count(support)}</td>`
  const average = (name: string, scores: Scores) => html`<tr><th scope="row">${name}</th>${cells(scores)}</tr>`
  const omitted =
    shown.length < labels.length ? ` The ${shown.length} of ${labels.length} labels with the lowest F1.` : ''
  return section(
    'Labels',
    html`<table>
<caption>Precision, recall and F1 of each label, and the number of ${unit} with it.${omitted}</caption>
<thead><tr><th scope="col">Label</th><th scope="col">Precision</th><th scope="col">Recall</th><th scope="col">F1</th><th scope="col">${unit[0]?.toUpperCase() ?? ''}${unit.slice(1)}</th></tr></thead>
<tbody>${shown.map((row) => html`<tr><th scope="row">${row.label}</th>${cells(row)}</tr>`)}</tbody>
<tfoot>${average('All together (micro)', table.micro)}${average('Mean of labels (macro)', table.macro)}${average('Mean by support (weighted)', table.weighted)}</tfoot>
</table>`,
  )
}

function confusionSection({ confusions, matrix }: PageFacts): Markup {
  if (confusions.length === 0) return nothing
  const rows = confusions.slice(0, most.confusions)
  return section(
    'Confusions',
    html`${matrix ? html`<div class="chart">${confusionMatrix(matrix, 'Confusion matrix. The table below lists the most frequent confusions.')}</div>` : nothing}
<table>
<caption>The most frequent confusions</caption>
<thead><tr><th scope="col">Actual</th><th scope="col" class="text">Predicted</th><th scope="col">Times</th><th scope="col">Of</th></tr></thead>
<tbody>${rows.map(
      ({ actual, predicted, rows, of }) =>
        html`<tr><th scope="row">${actual}</th><td class="text">${predicted}</td><td>${count(rows)}</td><td>${count(of)}</td></tr>`,
    )}</tbody>
</table>`,
  )
}

function calibrationSection({ reliability }: PageFacts): Markup {
  if (reliability === undefined) return nothing
  const { bins, error } = reliability
  return section(
    'Calibration',
    html`<p>If probabilities are calibrated, the points lie on the line: of the predictions with a confidence of 0.8, 80 % are correct.
The expected calibration error is the mean distance from the line, ${number(error)} here.</p>
<div class="chart">${reliabilityDiagram(bins, 'Reliability diagram. The table below has its values.')}</div>
<table>
<caption>Predictions by confidence</caption>
<thead><tr><th scope="col">Confidence</th><th scope="col">Mean</th><th scope="col">Correct</th><th scope="col">Predictions</th></tr></thead>
<tbody>${bins.map(
      (bin) =>
        html`<tr><th scope="row">${bin.from} to ${bin.to}</th><td>${number(bin.confidence)}</td><td>${number(bin.accuracy)}</td><td>${count(bin.count)}</td></tr>`,
    )}</tbody>
</table>`,
  )
}

function curveSection({ losses }: PageFacts): Markup {
  if (losses.length < 2) return nothing
  const lowest = losses.indexOf(Math.min(...losses))
  const summary = `The loss of held-out examples in training: ${number(losses[0] ?? 0)} before the first epoch, and at best ${number(losses[lowest] ?? 0)} after epoch ${lowest}.`
  return section('Learning curve', html`<p>${summary}</p><div class="chart">${learningCurve(losses, summary)}</div>`)
}

function worstSection({ worst }: PageFacts): Markup {
  if (worst.length === 0) return nothing
  return section(
    'Worst errors',
    html`<table>
<caption>Wrong predictions with the highest confidence, or the numbers with the largest difference</caption>
<thead><tr><th scope="col">Place</th><th scope="col" class="text">Text</th><th scope="col" class="text">Expected</th><th scope="col" class="text">Predicted</th><th scope="col">Score</th></tr></thead>
<tbody>${worst.map(
      ({ place, text, textPair, expected, predicted, score = Number.NaN }) =>
        html`<tr><th scope="row">${place}</th><td class="text">${shortened(text, most.textLength)}${textPair === undefined ? nothing : html`<br>${shortened(textPair, most.textLength)}`}</td><td class="text">${shown(expected)}</td><td class="text">${shown(predicted)}</td><td>${number(score)}</td></tr>`,
    )}</tbody>
</table>`,
  )
}

const section = (title: string, content: Markup): Markup => html`<section><h2>${title}</h2>
${content}
</section>`

const shown = (label: ShownLabel): string =>
  typeof label === 'number'
    ? number(label)
    : shortened(typeof label === 'string' ? label : label.join(' '), most.textLength)
const number = (value: number) => (Math.abs(value) < 10_000 ? value.toFixed(4) : value.toPrecision(8))
const count = (value: number) => value.toLocaleString('en-US')

/** Of the labels that occur, or of those with the most confusions if they are many. Undefined if examples have several labels. */
export function matrixOf(
  space: LabelSpace,
  { predictions, actual }: Predictions,
  confusions: readonly Confusion[],
): Matrix | undefined {
  if (space.problem !== 'single_label_classification' && space.problem !== 'token_classification') return undefined
  const labels = labelNames(space)
  const present = new Set([...actual, ...predictions])
  let chosen = labels.filter((_, label) => present.has(label))
  if (chosen.length > most.matrixLabels) {
    const confused = new Set<string>()
    for (const { actual, predicted } of confusions)
      for (const label of [actual, predicted]) if (confused.size < most.matrixLabels) confused.add(label)
    chosen = chosen.filter((label) => confused.has(label))
  }
  const places = new Map(chosen.map((label, at) => [labels.indexOf(label), at]))
  const counts = chosen.map(() => new Array<number>(chosen.length).fill(0))
  for (const [at, label] of actual.entries()) {
    const row = counts[places.get(label) ?? -1]
    const column = places.get(predictions[at] ?? -1)
    if (row && column !== undefined) row[column] = (row[column] ?? 0) + 1
  }
  return { labels: chosen, counts }
}

const style = html`
:root { color-scheme: light dark; --page: #fff; --text: #1a1a1a; --soft: #57606a; --line: #d0d7de; --accent: #2b6cb0; --error: #c05621 }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --text: #eceff1; --soft: #a5aeb8; --line: #3a424b; --accent: #5a9fe0; --error: #e08a4f } }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.5rem; overflow-wrap: anywhere } h2 { font-size: 1.15rem; margin-top: 2.5rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem } dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums }
caption { text-align: left; white-space: nowrap; color: var(--soft); padding-bottom: .25rem }
th, td { padding: .2rem .75rem .2rem 0; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); font-weight: normal }
thead th { color: var(--soft) } th:first-child, .text { text-align: left } td.text { overflow-wrap: anywhere }
.chart { overflow-x: auto } svg { max-width: none; height: auto; font-size: 11px } svg text { fill: currentColor }
.frame { fill: none; stroke: var(--line) } .bar, .right { fill: var(--accent) } .wrong { fill: var(--error) }
.ideal { stroke: var(--soft); stroke-dasharray: 4 3 } .point { fill: var(--text) } .curve { fill: none; stroke: var(--accent); stroke-width: 2 }
`
