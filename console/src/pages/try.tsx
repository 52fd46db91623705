// Tries texts on a task, with one version or with two side by side, and corrects what is wrong.

import { useEffect, useState } from 'preact/hooks'
import { call, path } from '../api/client.js'
import { useAction, useLoaded } from '../api/query.js'
import type { Prediction, PredictResponse, Task } from '../api/types.js'
import { link } from '../route.js'
import { labelText } from '../ui/label.js'
import { kindOf, LabelInput, parseLabel } from '../ui/label-editor.js'
import { Badge, Button, Empty, Field, Loading, Notice, Problem } from '../ui/parts.js'
import { PredictionView } from '../ui/prediction.js'
import type { OpenTask } from './task.js'

interface Input {
  readonly key: number
  readonly text: string
  readonly pair?: string
}

const mostTexts = 20

export function Try({
  open,
  version,
  against,
}: {
  readonly open: OpenTask
  readonly version: string | null
  readonly against: string | null
}) {
  const { id, task } = open
  if (!task)
    return (
      <Empty title="There is nothing to try yet">
        <p>This task has examples but no version. Learn one; the first is live within seconds.</p>
        <p>
          <a class="button primary" href={link(['tasks', id, 'learn'])}>
            Go to Learn
          </a>
        </p>
      </Empty>
    )
  return <TryTask open={open} task={task} version={version} against={against} />
}

function TryTask({
  open: { id, versions, fixed },
  task,
  version,
  against,
}: {
  readonly open: OpenTask
  readonly task: Task
  readonly version: string | null
  readonly against: string | null
}) {
  const [inputs, setInputs] = useState<readonly Input[]>([])
  const [shown, setShown] = useState({ first: version ?? '', second: against ?? '' })
  useEffect(() => setShown({ first: version ?? '', second: against ?? '' }), [version, against])
  const numbers = versions?.versions.map((each) => each.version) ?? []
  const add = (texts: readonly Omit<Input, 'key'>[]) =>
    setInputs((old) => {
      const next = (old[0]?.key ?? 0) + 1
      return [...texts.map((input, index) => ({ ...input, key: next + texts.length - index })), ...old].slice(
        0,
        mostTexts,
      )
    })
  return (
    <div class="stack">
      <div class="card">
        <TextForm task={task} onTexts={add} />
        {numbers.length > 1 && versions && (
          <div class="columns">
            <VersionChoice
              label="Version"
              none={`the live one (${versions.active})`}
              numbers={numbers}
              value={shown.first}
              onChange={(first) => setShown({ ...shown, first })}
            />
            <VersionChoice
              label="Compare with"
              none="nothing"
              numbers={numbers}
              value={shown.second}
              onChange={(second) => setShown({ ...shown, second })}
            />
          </div>
        )}
      </div>
      {inputs.length === 0 && (
        <p class="soft">
          Write a text to see what the task predicts.{' '}
          {!fixed && 'If a prediction is wrong, correct it: the correction becomes an example for the next version.'}
        </p>
      )}
      {inputs.map((input) => (
        <Tried key={input.key} id={id} task={task} input={input} {...shown} fixed={fixed} />
      ))}
    </div>
  )
}

function TextForm({ task, onTexts }: { readonly task: Task; readonly onTexts: (texts: Omit<Input, 'key'>[]) => void }) {
  const [text, setText] = useState('')
  const [pair, setPair] = useState('')
  // A task that was trained on neither kind alone accepts both.
  const [pairs, setPairs] = useState(task.inputs === 'pair')
  const ready = text.trim() !== '' && (!pairs || pair.trim() !== '')
  const send = (event: Event) => {
    event.preventDefault()
    if (!ready) return
    if (pairs) onTexts([{ text, pair }])
    else {
      // Blank lines separate texts, so that several can be compared at once.
      const texts = text.split(/\n\s*\n/).map((each) => each.trim())
      onTexts(texts.filter((each) => each !== '').map((each) => ({ text: each })))
    }
    setText('')
    setPair('')
  }
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) send(event)
  }
  return (
    <form onSubmit={send}>
      <Field
        label={pairs ? 'First text' : 'Text'}
        hint={pairs ? undefined : 'A blank line begins another text. Ctrl+Enter predicts.'}
      >
        {(props) => (
          <textarea
            {...props}
            rows={3}
            value={text}
            onInput={({ currentTarget }) => setText(currentTarget.value)}
            onKeyDown={onKeyDown}
          />
        )}
      </Field>
      {pairs && (
        <Field label="Second text" hint="Ctrl+Enter predicts.">
          {(props) => (
            <textarea
              {...props}
              rows={3}
              value={pair}
              onInput={({ currentTarget }) => setPair(currentTarget.value)}
              onKeyDown={onKeyDown}
            />
          )}
        </Field>
      )}
      <div class="actions">
        {task.inputs === undefined && (
          <Button kind="quiet" onClick={() => setPairs(!pairs)}>
            {pairs ? 'One text' : 'A pair of texts'}
          </Button>
        )}
        <Button kind="primary" type="submit" disabled={!ready}>
          Predict
        </Button>
      </div>
    </form>
  )
}

const VersionChoice = ({
  label,
  none,
  numbers,
  value,
  onChange,
}: {
  readonly label: string
  readonly none: string
  readonly numbers: readonly number[]
  readonly value: string
  readonly onChange: (value: string) => void
}) => (
  <Field label={label}>
    {(props) => (
      <select {...props} value={value} onChange={({ currentTarget }) => onChange(currentTarget.value)}>
        <option value="">{none}</option>
        {numbers.map((number) => (
          <option key={number} value={String(number)}>
            version {number}
          </option>
        ))}
      </select>
    )}
  </Field>
)

const answerOf = ({ label, labels, score }: Prediction): string =>
  labels ? [...labels].sort().join(', ') : (label ?? (score === undefined ? '' : score.toFixed(2)))

/** One text with the predictions of one or two versions. */
function Tried({
  id,
  task,
  input,
  first,
  second,
  fixed,
}: {
  readonly id: string
  readonly task: Task
  readonly input: Input
  readonly first: string
  readonly second: string
  readonly fixed: boolean
}) {
  const { text, pair } = input
  const predict = async (version: string, signal: AbortSignal) => {
    const inputs = pair === undefined ? text : { text, text_pair: pair }
    const query = { version: version === '' ? undefined : version }
    const response = await call<PredictResponse>('POST', path('tasks', id, 'predict'), {
      json: { inputs },
      query,
      signal,
    })
    return response.predictions[0] as Prediction | undefined
  }
  const { data, error, reload } = useLoaded(`${task.version} ${first} ${second}`, (signal) =>
    Promise.all([predict(first, signal), second === '' ? undefined : predict(second, signal)]),
  )
  const [one, two] = data ?? []
  const compared = second !== ''
  return (
    <article class="card tried">
      {one?.words === undefined && <p class="text">{text}</p>}
      {pair !== undefined && <p class="text">{pair}</p>}
      <Problem error={error} onRetry={reload} />
      {!data && !error && <Loading what="the prediction" />}
      <div class={compared ? 'side-by-side' : ''}>
        {one && (
          <div>
            {compared && <h3>{first === '' ? 'Live version' : `Version ${first}`}</h3>}
            <PredictionView prediction={one} text={text} task={task} />
          </div>
        )}
        {two && (
          <div>
            <h3>
              Version {second} {one && answerOf(one) !== answerOf(two) && <Badge tone="warn">differs</Badge>}
            </h3>
            <PredictionView prediction={two} text={text} task={task} />
          </div>
        )}
      </div>
      {one && !fixed && (one.scores || one.score !== undefined) && (
        <Correction id={id} task={task} input={input} prediction={one} />
      )}
    </article>
  )
}

function Correction({
  id,
  task,
  input: { text, pair },
  prediction,
}: {
  readonly id: string
  readonly task: Task
  readonly input: Input
  readonly prediction: Prediction
}) {
  const kind = kindOf(task.problem_type)
  const [written, setWritten] = useState('')
  const [kept, setKept] = useState<string>()
  const { busy, error, run } = useAction()
  const label = parseLabel(kind, written)
  const send = (value: string | number | readonly string[]) =>
    void run(async () => {
      const json = { text, ...(pair !== undefined && { text_pair: pair }), label: value }
      await call('POST', path('tasks', id, 'feedback'), { json })
      setKept(labelText(value))
    })
  if (kept !== undefined)
    return (
      <Notice kind="good">
        Kept as an example: <strong>{kept}</strong>. <a href={link(['tasks', id, 'learn'])}>Learn a new version</a> to
        use it.
      </Notice>
    )
  const predicted = prediction.labels ?? prediction.label
  return (
    <form
      class="correction"
      onSubmit={(event) => {
        event.preventDefault()
        if (label !== undefined) send(label)
      }}
    >
      {predicted !== undefined && (
        <Button kind="quiet" busy={busy} onClick={() => send(predicted)}>
          Right
        </Button>
      )}
      <LabelInput kind={kind} labels={task.labels} value={written} label="Correct label" onInput={setWritten} />
      <Button type="submit" busy={busy} disabled={label === undefined || written.trim() === ''}>
        Correct it
      </Button>
      <Problem error={error} />
    </form>
  )
}
