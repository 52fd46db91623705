// The examples of a task: found by label, text and disagreement, corrected in place, added one by one or from a file.

import { useState } from 'preact/hooks'
import { call, get, path } from '../api/client.js'
import { useAction, usePages } from '../api/query.js'
import type { Example, ExamplePage, PostedExamples } from '../api/types.js'
import { count, percent, plural } from '../format.js'
import { link } from '../route.js'
import { Dropzone } from '../ui/dropzone.js'
import { LabelText, labelOf, labelText } from '../ui/label.js'
import { kindOf, LabelInput, type LabelKind, parseLabel } from '../ui/label-editor.js'
import {
  ActionsHeading,
  Ago,
  Badge,
  Button,
  Dialog,
  Empty,
  Field,
  FormDialog,
  Loading,
  More,
  Notice,
  Problem,
  Table,
} from '../ui/parts.js'
import { useDebounced } from '../ui/use-debounced.js'
import { DataFile } from './data-file.js'
import { Suggested } from './suggested.js'
import type { OpenTask } from './task.js'

export function Examples({ open }: { readonly open: OpenTask }) {
  const { id, fixed } = open
  if (fixed)
    return (
      <Empty title="This task cannot be changed">
        <p>It comes with the server as a file. Make a task of your own to teach it with examples.</p>
        <p>
          <a class="button primary" href={link(['tasks'])}>
            Go to the tasks
          </a>
        </p>
      </Empty>
    )
  return <OwnExamples key={id} open={open} />
}

function OwnExamples({ open: { id, task, reload: reloadTask } }: { readonly open: OpenTask }) {
  const [label, setLabel] = useState('')
  const [search, setSearch] = useState('')
  const [disagrees, setDisagrees] = useState(false)
  const [file, setFile] = useState<File>()
  const [adding, setAdding] = useState(false)
  const [posted, setPosted] = useState<PostedExamples>()
  const text = useDebounced(search.trim(), 300)
  const route = path('tasks', id, 'examples')
  const { items, first, error, loading, more, reload, change } = usePages<Example, ExamplePage>(
    JSON.stringify([label, text, disagrees]),
    (after, signal) => get(route, { after, limit: 25, label, search: text, disagrees }, signal),
    ({ examples }) => examples,
  )
  const labels = first?.labels ?? []
  const names = [...new Set([...labels.map((each) => each.label), ...(task?.labels ?? [])])]
  const kind = kindOf(task?.problem_type)
  const filtered = label !== '' || text !== '' || disagrees
  const none = first?.total === 0
  const changed = (next: Example) => change((old) => old.map((each) => (each.id === next.id ? next : each)))
  const added = (result?: PostedExamples) => {
    setFile(undefined)
    setPosted(result)
    reload()
    if (!task) reloadTask()
  }
  return (
    <div class="stack">
      {posted && (
        <Notice kind="good">
          {plural(posted.added, 'example')} added, {count(posted.replaced)} changed, {count(posted.unchanged)} known
          already. <a href={link(['tasks', id, 'learn'])}>Learn a version from them</a>
        </Notice>
      )}
      <Dropzone
        title="Drop a file with examples here"
        hint="Texts that are there already get the label of the file"
        onFile={setFile}
      />
      {!none && (
        <div class="tools filters">
          <input
            type="search"
            aria-label="Search examples by text"
            placeholder="Search texts"
            value={search}
            onInput={({ currentTarget }) => setSearch(currentTarget.value)}
          />
          <select aria-label="Label" value={label} onChange={({ currentTarget }) => setLabel(currentTarget.value)}>
            <option value="">All labels</option>
            {labels.map((each) => (
              <option key={each.label} value={each.label}>
                {each.label} ({count(each.count)})
              </option>
            ))}
          </select>
          <label class="check">
            <input
              type="checkbox"
              checked={disagrees}
              onChange={({ currentTarget }) => setDisagrees(currentTarget.checked)}
            />
            The model disagrees
          </label>
          <span class="grow" />
          {first && <span class="soft">{plural(first.total, 'example')}</span>}
          <Button onClick={() => setAdding(true)}>Add one</Button>
        </div>
      )}
      <Problem error={error} onRetry={reload} />
      {items.length > 0 && (
        <Table label="Examples">
          <thead>
            <tr>
              <th scope="col">Text</th>
              <th scope="col">Label</th>
              <th scope="col">Predicted</th>
              <th scope="col">Changed</th>
              <ActionsHeading />
            </tr>
          </thead>
          <tbody>
            {items.map((example) => (
              <Row
                key={example.id}
                route={route}
                example={example}
                kind={kind}
                labels={names}
                onChanged={changed}
                onDeleted={() => change((old) => old.filter((each) => each.id !== example.id))}
              />
            ))}
          </tbody>
        </Table>
      )}
      {items.length === 0 && loading && <Loading what="examples" />}
      {items.length === 0 && !loading && filtered && !error && (
        <Empty title="No example matches">
          <p>
            {disagrees
              ? 'The newest job found no held-out example that the model predicts differently, or none has finished yet.'
              : 'Try another label or a shorter text.'}
          </p>
        </Empty>
      )}
      {none && !filtered && (
        <Empty title="No examples yet">
          <p>
            Drop a file above, or add examples one by one. A few dozen for each label are enough for a first version;
            the page says what helps most after that.
          </p>
          <p>
            <Button onClick={() => setAdding(true)}>Add one</Button>
          </p>
        </Empty>
      )}
      <More more={more} loading={loading && items.length > 0} />
      {task && <Suggested id={id} task={task} onAdded={reload} />}
      {file && (
        <Dialog title={`Add examples to ${id}`} onClose={() => setFile(undefined)} wide>
          <DataFile
            id={id}
            file={file}
            action={(examples) => (examples > 0 ? `Add ${plural(examples, 'example')}` : 'Add')}
            onDone={added}
            onCancel={() => setFile(undefined)}
          />
        </Dialog>
      )}
      {adding && (
        <AddExample
          route={route}
          kind={kind}
          labels={names}
          pairs={task?.inputs === 'pair'}
          onAdded={() => added()}
          onClose={() => setAdding(false)}
        />
      )}
    </div>
  )
}

function Row({
  route,
  example,
  kind,
  labels,
  onChanged,
  onDeleted,
}: {
  readonly route: string
  readonly example: Example
  readonly kind: LabelKind
  readonly labels: readonly string[]
  readonly onChanged: (example: Example) => void
  readonly onDeleted: () => void
}) {
  const { id, text, text_pair: pair, tokens, predicted, updated, source } = example
  const [written, setWritten] = useState<string>()
  const { busy, error, run } = useAction()
  const words = text ?? tokens?.join(' ') ?? ''
  const address = `${route}/${path(id)}`
  const save = () => {
    const label = written === undefined ? undefined : parseLabel(kind, written)
    setWritten(undefined)
    if (label === undefined || labelText(label) === labelText(labelOf(example))) return
    void run(async () => onChanged(await call<Example>('PATCH', address, { json: { label } })))
  }
  const remove = () =>
    void run(async () => {
      await call<void>('DELETE', address)
      onDeleted()
    })
  const differs = predicted !== undefined && labelText(predicted.label) !== labelText(labelOf(example))
  return (
    <tr>
      <td class="text">
        {words}
        {pair !== undefined && <div class="soft">{pair}</div>}
        <Problem error={error} />
      </td>
      <td>
        {written === undefined ? (
          <button
            type="button"
            class="edit"
            disabled={busy || example.label === undefined}
            aria-label={`Label: ${labelText(labelOf(example))}. Change it`}
            onClick={() => setWritten(labelText(labelOf(example)))}
          >
            <LabelText label={labelOf(example)} />
          </button>
        ) : (
          <EditLabel
            kind={kind}
            labels={labels}
            value={written}
            onInput={setWritten}
            onSave={save}
            onCancel={() => setWritten(undefined)}
          />
        )}
      </td>
      <td>
        {predicted ? (
          <>
            {differs ? <Badge tone="warn">{labelText(predicted.label)}</Badge> : labelText(predicted.label)}{' '}
            {predicted.score !== undefined && <span class="soft">{percent(predicted.score)}</span>}
          </>
        ) : (
          <span class="soft">–</span>
        )}
      </td>
      <td class="soft">
        <Ago time={updated} />
        {source === 'feedback' && ' by feedback'}
      </td>
      <td class="number">
        <Button kind="quiet" busy={busy} aria-label={`Delete the example “${words.slice(0, 40)}”`} onClick={remove}>
          Delete
        </Button>
      </td>
    </tr>
  )
}

function EditLabel({
  onSave,
  onCancel,
  ...input
}: {
  readonly kind: LabelKind
  readonly labels: readonly string[]
  readonly value: string
  readonly onInput: (value: string) => void
  readonly onSave: () => void
  readonly onCancel: () => void
}) {
  return (
    <form
      class="edit-label"
      ref={(form) => {
        const field = form?.querySelector('input')
        if (field && document.activeElement?.closest('.edit-label') !== form) field.select()
      }}
      onSubmit={(event) => {
        event.preventDefault()
        onSave()
      }}
    >
      <LabelInput {...input} label="Label" onKeyDown={(event) => event.key === 'Escape' && onCancel()} />
      <Button type="submit" kind="primary">
        Save
      </Button>
    </form>
  )
}

function AddExample({
  route,
  kind,
  labels,
  pairs,
  onAdded,
  onClose,
}: {
  readonly route: string
  readonly kind: LabelKind
  readonly labels: readonly string[]
  readonly pairs: boolean
  readonly onAdded: () => void
  readonly onClose: () => void
}) {
  const [text, setText] = useState('')
  const [pair, setPair] = useState('')
  const [written, setWritten] = useState('')
  const [last, setLast] = useState<string>()
  const { busy, error, run } = useAction()
  const label = parseLabel(kind, written)
  const add = () => {
    if (label === undefined) return
    void run(async () => {
      const example = { text, ...(pair !== '' && { text_pair: pair }), label }
      await call<PostedExamples>('POST', route, { json: [example] })
      setLast(text)
      setText('')
      setPair('')
      onAdded()
    })
  }
  return (
    <FormDialog
      title="Add an example"
      action="Add"
      cancel="Done"
      busy={busy}
      disabled={text.trim() === '' || label === undefined}
      error={error}
      onSubmit={add}
      onClose={onClose}
    >
      {last !== undefined && <Notice kind="good">Added “{last.slice(0, 60)}”.</Notice>}
      <Field label="Text">
        {(props) => (
          <textarea
            {...props}
            rows={3}
            required
            value={text}
            onInput={({ currentTarget }) => setText(currentTarget.value)}
          />
        )}
      </Field>
      {pairs && (
        <Field label="Second text">
          {(props) => (
            <textarea {...props} rows={2} value={pair} onInput={({ currentTarget }) => setPair(currentTarget.value)} />
          )}
        </Field>
      )}
      <Field label="Label">
        {({ id }) => <LabelInput id={id} kind={kind} labels={labels} value={written} onInput={setWritten} />}
      </Field>
    </FormDialog>
  )
}
