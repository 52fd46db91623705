// A prediction of any kind: scores as bars, entities marked in their text, a number, a vector.

import type { LabelScore, Prediction, Task } from '../api/types.js'
import { decimal, percent } from '../format.js'
import { Badge, Bar } from './parts.js'

const mostBars = 8

export function PredictionView({
  prediction,
  text,
  task,
}: {
  readonly prediction: Prediction
  readonly text: string
  readonly task: Task
}) {
  return (
    <>
      {content(prediction, text, task)}
      {prediction.truncated && (
        <p class="fine">The end of the text was cut, because it is longer than the task reads.</p>
      )}
    </>
  )
}

function content({ scores, label, labels, score, words, entities, embedding }: Prediction, text: string, task: Task) {
  if (words) return <Marked text={text} spans={entities ?? words.filter((word) => word.label !== 'O')} />
  if (embedding) return <Vector values={embedding} />
  if (scores) {
    const chosen = labels ?? (label === undefined ? [] : [label])
    return <Scores scores={scores} chosen={chosen} many={labels !== undefined} />
  }
  return <Value value={score ?? 0} range={task.range} />
}

function Scores({
  scores,
  chosen,
  many,
}: {
  readonly scores: readonly LabelScore[]
  readonly chosen: readonly string[]
  readonly many: boolean
}) {
  const best = [...scores].sort((a, b) => b.score - a.score).slice(0, mostBars)
  return (
    <>
      <ul class="bars">
        {best.map(({ label, score }) => (
          <li key={label} class={chosen.includes(label) ? 'chosen' : ''}>
            <span class="name">{label}</span>
            <Bar share={score} tone={chosen.includes(label) ? 'accent' : 'muted'} />
            <span class="value">{percent(score)}</span>
          </li>
        ))}
      </ul>
      {many && chosen.length === 0 && <p class="fine">No label applies.</p>}
      {scores.length > best.length && <p class="fine">and {scores.length - best.length} labels with lower scores</p>}
    </>
  )
}

interface Span {
  readonly label: string
  readonly score: number
  readonly start: number
  readonly end: number
}

/** Colours of kinds of entities, in the order in which they appear. */
const colors = 6

function Marked({ text, spans }: { readonly text: string; readonly spans: readonly Span[] }) {
  const kinds = [...new Set(spans.map(({ label }) => label))]
  const parts = []
  let at = 0
  for (const { label, score, start, end } of [...spans].sort((a, b) => a.start - b.start)) {
    if (start < at) continue
    parts.push(text.slice(at, start))
    parts.push(
      <mark key={start} class={`k${kinds.indexOf(label) % colors}`} title={percent(score)}>
        {text.slice(start, end)}
        <small>{label}</small>
      </mark>,
    )
    at = end
  }
  parts.push(text.slice(at))
  return (
    <>
      <p class="marked">{parts}</p>
      {spans.length === 0 && <p class="fine">Nothing was found in this text.</p>}
    </>
  )
}

function Value({ value, range }: { readonly value: number; readonly range?: readonly number[] | undefined }) {
  const [low, high] = range ?? []
  return (
    <p class="value-of">
      <strong>{decimal(value)}</strong>
      {low !== undefined && high !== undefined && (
        <>
          <Bar share={(value - low) / (high - low)} />
          <span class="fine">
            from {low} to {high}
          </span>
        </>
      )}
    </p>
  )
}

const Vector = ({ values }: { readonly values: readonly number[] }) => (
  <p>
    <Badge>{values.length} numbers</Badge>{' '}
    <code>
      {values
        .slice(0, 6)
        .map((value) => decimal(value))
        .join(', ')}
      , …
    </code>
  </p>
)
