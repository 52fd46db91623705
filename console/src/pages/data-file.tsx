// A data file on its way to a task: what the server found in it, a choice of columns, and the upload.

import { useEffect, useRef, useState } from 'preact/hooks'
import { type ApiError, path, sendFile } from '../api/client.js'
import { asApiError, useAction } from '../api/query.js'
import type { DataReport, PostedExamples } from '../api/types.js'
import { bytes, count, plural, problemName, problemTypes } from '../format.js'
import { LabelText, labelOf } from '../ui/label.js'
import { Bar, Button, Field, Loading, Notice, Problem, Progress, Table } from '../ui/parts.js'

/** What the reader chose in place of what the server found. */
interface Choice {
  readonly text_column?: string
  readonly pair_column?: string
  readonly label_column?: string
  readonly problem_type?: string
}

const types: Readonly<Record<string, string>> = {
  csv: 'text/csv',
  tsv: 'text/tab-separated-values',
  json: 'application/json',
  jsonl: 'application/x-ndjson',
  ndjson: 'application/x-ndjson',
  parquet: 'application/vnd.apache.parquet',
  conll: 'text/plain',
  txt: 'text/plain',
}

/** The name decides the format, and messages have it. */
function headersOf({ name }: File): Record<string, string> {
  const extension = /\.([a-z]+)$/i.exec(name)?.[1]?.toLowerCase() ?? ''
  // RFC 8187: only some ASCII characters stand for themselves.
  const encoded = encodeURIComponent(name).replaceAll(/['()*!]/g, (char) => `%${char.charCodeAt(0).toString(16)}`)
  return {
    'content-type': types[extension] ?? 'application/octet-stream',
    'content-disposition': `attachment; filename*=UTF-8''${encoded}`,
  }
}

export function DataFile({
  id,
  file,
  action,
  onDone,
  onCancel,
}: {
  readonly id: string
  readonly file: File
  /** What the button says, given the number of examples. */
  readonly action: (examples: number) => string
  /** @param problemType if it was chosen */
  readonly onDone: (posted: PostedExamples, problemType: string | undefined) => Promise<void> | void
  readonly onCancel: () => void
}) {
  const [choice, setChoice] = useState<Choice>({})
  const [found, setFound] = useState<PostedExamples>()
  const [share, setShare] = useState(0)
  const check = useAction()
  const upload = useAction()
  const stop = useRef(new AbortController())
  const route = path('tasks', id, 'examples')

  useEffect(() => {
    const controller = new AbortController()
    stop.current = controller
    void check.run(async () => {
      try {
        const query = { ...choice, dry_run: true }
        const posted = await sendFile<PostedExamples>(route, query, file, headersOf(file), () => {}, controller.signal)
        if (!controller.signal.aborted) setFound(posted)
      } catch (error) {
        if (controller.signal.aborted) return
        throw asApiError(error)
      }
    })
    return () => controller.abort()
  }, [route, file, choice])

  const send = () =>
    void upload.run(async () => {
      setShare(0)
      await onDone(
        await sendFile<PostedExamples>(route, { ...choice }, file, headersOf(file), setShare, stop.current.signal),
        choice.problem_type,
      )
    })

  // Where the server does not find the columns, it lists those of the file.
  const names = namesOf(check.error)
  const examples = found ? found.added + found.replaced + found.unchanged : 0
  return (
    <div class="data-file">
      <p>
        <strong>{file.name}</strong> <span class="soft">{bytes(file.size)}</span>
      </p>
      {check.busy && !found && <Loading what="what is in the file" />}
      <Problem error={check.error} />
      {!found && names && (
        <ColumnChoice report={{ names, columns: {}, problem_type: null }} choice={choice} onChoice={setChoice} />
      )}
      {found && <FileReport found={found} choice={choice} onChoice={setChoice} busy={check.busy} />}
      <Problem error={upload.error} />
      {upload.busy && <Progress label="Upload" share={share} />}
      <div class="actions">
        <Button onClick={onCancel}>Cancel</Button>
        <Button
          kind="primary"
          onClick={send}
          busy={upload.busy}
          disabled={!found || check.busy || check.error !== undefined || examples === 0}
        >
          {action(examples)}
        </Button>
      </div>
    </div>
  )
}

function namesOf(error: ApiError | undefined): readonly string[] | undefined {
  const names = error?.problem.names
  return Array.isArray(names) && names.length > 0 ? names.map(String) : undefined
}

function FileReport({
  found: { report, skipped },
  choice,
  onChoice,
  busy,
}: {
  readonly found: PostedExamples
  readonly choice: Choice
  readonly onChoice: (choice: Choice) => void
  readonly busy: boolean
}) {
  return (
    <div aria-busy={busy}>
      <p>
        {plural(report.rows, 'row')}, {report.format}.
      </p>
      <ColumnChoice report={report} choice={choice} onChoice={onChoice} />
      {report.warnings.map((warning) => (
        <Notice key={warning} kind="warn">
          {warning}
        </Notice>
      ))}
      {skipped.map(({ reason, count: rows, first_place }) => (
        <Notice key={reason} kind="warn">
          {plural(rows, 'row')} will be skipped: {reason} (first at {first_place})
        </Notice>
      ))}
      {report.labels.length > 0 && <LabelCounts report={report} />}
      <Sample report={report} />
    </div>
  )
}

function ColumnChoice({
  report: { names, columns: found, problem_type: problemType },
  choice,
  onChoice,
}: {
  readonly report: Pick<DataReport, 'names' | 'problem_type'> & { readonly columns: Partial<DataReport['columns']> }
  readonly choice: Choice
  readonly onChoice: (choice: Choice) => void
}) {
  const choices = [
    { key: 'text_column', label: 'Column of the texts', value: found.text, optional: false },
    { key: 'label_column', label: 'Column of the labels', value: found.label, optional: false },
    { key: 'pair_column', label: 'Column of second texts', value: found.pair, optional: true },
  ] as const
  return (
    <div class="columns">
      <Field label="What the task predicts">
        {(props) => (
          <select
            {...props}
            value={choice.problem_type ?? problemType ?? ''}
            onChange={({ currentTarget }) => onChoice({ ...choice, problem_type: currentTarget.value })}
          >
            {problemType === null && <option value="">decided from the rows</option>}
            {problemTypes.map((name) => (
              <option key={name} value={name}>
                {problemName(name)}
              </option>
            ))}
          </select>
        )}
      </Field>
      {names.length > 1 &&
        choices.map(({ key, label, value, optional }) => (
          <Field key={key} label={label}>
            {(props) => (
              <select
                {...props}
                value={choice[key] ?? value ?? ''}
                onChange={({ currentTarget }) => {
                  const { [key]: _, ...others } = choice
                  onChoice(currentTarget.value === '' ? others : { ...others, [key]: currentTarget.value })
                }}
              >
                {(optional || value === undefined) && <option value="">none</option>}
                {names.map((name) => (
                  <option key={name} value={name}>
                    {name}
                  </option>
                ))}
              </select>
            )}
          </Field>
        ))}
    </div>
  )
}

function LabelCounts({ report: { labels, label_count: all } }: { readonly report: DataReport }) {
  const shown = labels.slice(0, 12)
  const most = Math.max(...shown.map(({ count: value }) => value))
  return (
    <>
      <h3>Labels</h3>
      <ul class="bars">
        {shown.map(({ label, count: value }) => (
          <li key={label}>
            <span class="name">{label}</span>
            <Bar share={value / most} />
            <span class="value">{count(value)}</span>
          </li>
        ))}
      </ul>
      {all > shown.length && <p class="fine">and {count(all - shown.length)} more labels</p>}
    </>
  )
}

const Sample = ({ report: { sample = [] } }: { readonly report: DataReport }) => (
  <>
    <h3>The first rows</h3>
    <Table label="The first rows of the file">
      <thead>
        <tr>
          <th scope="col">Text</th>
          <th scope="col">Label</th>
        </tr>
      </thead>
      <tbody>
        {sample.slice(0, 5).map((row, index) => (
          <tr key={index}>
            <td class="text">
              {row.text ?? row.tokens?.join(' ')}
              {row.text_pair !== undefined && <div class="soft">{row.text_pair}</div>}
            </td>
            <td>
              <LabelText label={labelOf(row)} />
            </td>
          </tr>
        ))}
      </tbody>
    </Table>
  </>
)
