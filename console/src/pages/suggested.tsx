// Texts of recent traffic that are worth a label: those of which the task is least sure. Keeping texts is off unless the
// owner of the task switches it on.

import { useState } from 'preact/hooks'
import { call, get, path } from '../api/client.js'
import { useAction, useLoaded } from '../api/query.js'
import type { Label, Suggestion, Suggestions, Task, TaskSettings } from '../api/types.js'
import { percent, plural } from '../format.js'
import { labelOf, labelText } from '../ui/label.js'
import { kindOf, LabelInput, parseLabel } from '../ui/label-editor.js'
import { Button, Field, Problem, Table } from '../ui/parts.js'

export function Suggested({
  id,
  task,
  onAdded,
}: {
  readonly id: string
  readonly task: Task
  readonly onAdded: () => void
}) {
  const settings = useLoaded(`settings ${id}`, (signal) => get<TaskSettings>(path('tasks', id, 'settings'), {}, signal))
  const keeps = settings.data?.keep_texts ?? null
  if (!settings.data && !settings.error) return null
  return (
    <section class="card" aria-labelledby="suggested">
      <h2 id="suggested">Worth labelling next</h2>
      <Problem error={settings.error} onRetry={settings.reload} />
      {settings.data && <Keeping id={id} days={keeps?.days} onChanged={settings.set} />}
      {keeps && <Texts id={id} task={task} onAdded={onAdded} />}
    </section>
  )
}

function Keeping({
  id,
  days,
  onChanged,
}: {
  readonly id: string
  readonly days: number | undefined
  readonly onChanged: (settings: TaskSettings) => void
}) {
  const [written, setWritten] = useState(7)
  const { busy, error, run } = useAction()
  const save = (keep_texts: TaskSettings['keep_texts']) =>
    void run(async () => {
      onChanged(await call<TaskSettings>('PUT', path('tasks', id, 'settings'), { json: { keep_texts } }))
    })
  return (
    <>
      {days === undefined ? (
        <>
          <p>
            The server can keep the texts of recent requests of which this task is least sure. A label for one of them
            teaches more than a label for any other text. Texts are not kept unless you switch it on.
          </p>
          <form
            class="inline"
            onSubmit={(event) => {
              event.preventDefault()
              save({ days: written })
            }}
          >
            <Field label="Days until kept texts are deleted">
              {(props) => (
                <input
                  {...props}
                  type="number"
                  min={1}
                  max={90}
                  required
                  value={written}
                  onInput={({ currentTarget }) => setWritten(currentTarget.valueAsNumber)}
                />
              )}
            </Field>
            <Button type="submit" busy={busy}>
              Keep unsure texts
            </Button>
          </form>
        </>
      ) : (
        <p class="soft">
          Texts of which the task is unsure are kept for {plural(days, 'day')}.{' '}
          <Button kind="quiet" busy={busy} onClick={() => save(null)}>
            Stop and delete them
          </Button>
        </p>
      )}
      <Problem error={error} />
    </>
  )
}

function Texts({ id, task, onAdded }: { readonly id: string; readonly task: Task; readonly onAdded: () => void }) {
  const { data, error, reload } = useLoaded(`suggestions ${id} ${task.version}`, (signal) =>
    get<Suggestions>(path('tasks', id, 'suggestions'), { limit: 10 }, signal),
  )
  if (error) return <Problem error={error} onRetry={reload} />
  if (!data) return null
  if (data.texts.length === 0)
    return <p class="soft">No unsure texts yet. They appear here after programs have asked for predictions.</p>
  const labelled = () => {
    reload()
    onAdded()
  }
  return (
    <Table label="Texts worth labelling">
      <thead>
        <tr>
          <th scope="col">Text</th>
          <th scope="col">Predicted</th>
          <th scope="col">Label</th>
        </tr>
      </thead>
      <tbody>
        {data.texts.map((each) => (
          <Row key={`${each.request_id} ${each.index}`} id={id} task={task} suggestion={each} onLabelled={labelled} />
        ))}
      </tbody>
    </Table>
  )
}

function Row({
  id,
  task,
  suggestion: { text, text_pair: pair, tokens, predicted },
  onLabelled,
}: {
  readonly id: string
  readonly task: Task
  readonly suggestion: Suggestion
  readonly onLabelled: () => void
}) {
  const kind = kindOf(task.problem_type)
  const [written, setWritten] = useState('')
  const { busy, error, run } = useAction()
  const label = parseLabel(kind, written)
  const send = (value: Label) =>
    void run(async () => {
      await call('POST', path('tasks', id, 'feedback'), {
        json: { text, ...(pair !== undefined && { text_pair: pair }), label: value },
      })
      onLabelled()
    })
  return (
    <tr>
      <td class="text">
        {text}
        {pair !== undefined && <div class="soft">{pair}</div>}
        <Problem error={error} />
      </td>
      <td>
        {labelText(tokens ? labelOf({ tags: [predicted.label].flat() }) : predicted.label)}{' '}
        <span class="soft">{percent(predicted.score)}</span>{' '}
        {!tokens && (
          <Button kind="quiet" busy={busy} onClick={() => send(predicted.label)}>
            Right
          </Button>
        )}
      </td>
      <td>
        {tokens ? (
          <span class="soft">words are labelled in a file</span>
        ) : (
          <form
            class="edit-label"
            onSubmit={(event) => {
              event.preventDefault()
              if (label !== undefined) send(label)
            }}
          >
            <LabelInput
              kind={kind}
              labels={task.labels}
              value={written}
              label={`Label of “${text.slice(0, 40)}”`}
              onInput={setWritten}
            />
            <Button type="submit" busy={busy} disabled={written.trim() === ''}>
              Save
            </Button>
          </form>
        )}
      </td>
    </tr>
  )
}
