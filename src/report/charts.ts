// Charts as inline SVG: a confusion matrix, a reliability diagram and a learning curve. Colours come from the page's style.

import type { ReliabilityBin } from '../learn/reliability.js'
import { shortened } from '../problem.js'
import { html, type Markup, nothing } from './html.js'

const plot = { left: 56, top: 12, size: 260, right: 16, bottom: 48 } as const
const plotWidth = plot.left + plot.size + plot.right
const plotHeight = plot.top + plot.size + plot.bottom

/** Shares of the plot, from 0 at the left or the bottom, as coordinates. */
const x = (share: number) => coordinate(plot.left + share * plot.size)
const y = (share: number) => coordinate(plot.top + (1 - share) * plot.size)
const coordinate = (value: number) => Number(value.toFixed(1))

interface Axis {
  readonly title: string
  readonly ticks: readonly { readonly at: number; readonly text: string }[]
}

function axes(horizontal: Axis, vertical: Axis): Markup {
  return html`<rect class="frame" x="${x(0)}" y="${y(1)}" width="${plot.size}" height="${plot.size}"/>
${horizontal.ticks.map(({ at, text }) => html`<text x="${x(at)}" y="${y(0) + 16}" text-anchor="middle">${text}</text>`)}
${vertical.ticks.map(({ at, text }) => html`<text x="${x(0) - 6}" y="${y(at) + 4}" text-anchor="end">${text}</text>`)}
<text x="${x(0.5)}" y="${plotHeight - 8}" text-anchor="middle">${horizontal.title}</text>
<text transform="translate(12 ${y(0.5)}) rotate(-90)" text-anchor="middle">${vertical.title}</text>`
}

const shareTicks = [0, 0.2, 0.4, 0.6, 0.8, 1].map((at) => ({ at, text: String(at) }))

/** @param summary what the diagram shows, for readers who do not see it */
export function reliabilityDiagram(bins: readonly ReliabilityBin[], summary: string): Markup {
  const most = Math.max(...bins.map(({ count }) => count))
  return html`<svg role="img" aria-label="${summary}" viewBox="0 0 ${plotWidth} ${plotHeight}" width="${plotWidth}">
${axes({ title: 'confidence', ticks: shareTicks }, { title: 'share of correct predictions', ticks: shareTicks })}
${bins.map(
  ({ from, to, accuracy, count }) =>
    html`<rect class="bar" x="${x(from) + 1}" y="${y(accuracy)}" width="${coordinate((to - from) * plot.size - 2)}" height="${coordinate(accuracy * plot.size)}" fill-opacity="${(0.25 + (0.6 * count) / most).toFixed(2)}"/>`,
)}
<line class="ideal" x1="${x(0)}" y1="${y(0)}" x2="${x(1)}" y2="${y(1)}"/>
${bins.map(({ confidence, accuracy }) => html`<circle class="point" cx="${x(confidence)}" cy="${y(accuracy)}" r="3"/>`)}
</svg>`
}

/** @param losses before training and after each epoch */
export function learningCurve(losses: readonly number[], summary: string): Markup {
  const [low, high] = [Math.min(...losses), Math.max(...losses)]
  const span = high - low || 1
  const last = Math.max(1, losses.length - 1)
  const points = losses.map((loss, epoch) => ({ epoch, x: x(epoch / last), y: y((loss - low) / span) }))
  const every = Math.ceil(losses.length / 10)
  const epochTicks = points
    .filter(({ epoch }) => epoch % every === 0)
    .map(({ epoch }) => ({ at: epoch / last, text: String(epoch) }))
  const lossTicks = [0, 0.5, 1].map((at) => ({ at, text: (low + at * span).toFixed(3) }))
  return html`<svg role="img" aria-label="${summary}" viewBox="0 0 ${plotWidth} ${plotHeight}" width="${plotWidth}">
${axes({ title: 'epoch', ticks: epochTicks }, { title: 'loss of held-out examples', ticks: lossTicks })}
<polyline class="curve" points="${points.map((point) => `${point.x},${point.y}`).join(' ')}"/>
${points.map((point) => html`<circle class="point" cx="${point.x}" cy="${point.y}" r="3"/>`)}
</svg>`
}

export interface Matrix {
  readonly labels: readonly string[]
  /** [actual][predicted] */
  readonly counts: readonly (readonly number[])[]
}

const cell = 26
const mostCharacters = 24
/** About the width of a character. */
const characterWidth = 6.5

export function confusionMatrix({ labels, counts }: Matrix, summary: string): Markup {
  const names = labels.map((label) => shortened(label, mostCharacters))
  const room = Math.max(130, Math.ceil(characterWidth * Math.max(...names.map((name) => name.length))) + 12)
  const side = labels.length * cell
  // Names over the columns rise by 60 degrees.
  const [width, height] = [room + side + room / 2, room + side + 8]
  const middle = (at: number) => room + (at + 0.5) * cell
  return html`<svg role="img" aria-label="${summary}" viewBox="0 0 ${width} ${height}" width="${width}">
<text x="4" y="${room - 8}">actual ↓ predicted →</text>
${names.map(
  (name, at) => html`<text x="${room - 6}" y="${middle(at) + 4}" text-anchor="end">${name}</text>
<text transform="translate(${middle(at) + 4} ${room - 6}) rotate(-60)">${name}</text>`,
)}
${counts.flatMap((row, actual) => {
  const all = row.reduce((sum, count) => sum + count, 0)
  return row.map((count, predicted) => {
    if (count === 0) return nothing
    const title = `${count} of ${all} “${labels[actual] ?? ''}” predicted as “${labels[predicted] ?? ''}”`
    const [left, top] = [room + predicted * cell, room + actual * cell]
    const opacity = (0.12 + (0.48 * count) / all).toFixed(2)
    return html`<g><title>${title}</title><rect class="${predicted === actual ? 'right' : 'wrong'}" x="${left}" y="${top}" width="${cell}" height="${cell}" fill-opacity="${opacity}"/>
<text x="${left + cell / 2}" y="${top + cell / 2 + 4}" text-anchor="middle">${count}</text></g>`
  })
})}
<rect class="frame" x="${room}" y="${room}" width="${side}" height="${side}"/>
</svg>`
}
