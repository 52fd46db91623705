// The list of tasks, and how a new one begins.

import { useEffect, useState } from 'preact/hooks'
import { get, path } from '../api/client.js'
import { usePages } from '../api/query.js'
import type { Task, TaskList, TaskSummary } from '../api/types.js'
import { count, problemName } from '../format.js'
import { link } from '../route.js'
import { Dropzone } from '../ui/dropzone.js'
import { Badge, Button, Empty, Loading, More, Problem, Table } from '../ui/parts.js'
import { useDebounced } from '../ui/use-debounced.js'
import { NewTask } from './new-task.js'

export function TasksPage() {
  const [search, setSearch] = useState('')
  const wanted = useDebounced(search.trim().toLowerCase(), 250)
  const [newTask, setNewTask] = useState<{ readonly file?: File }>()
  const { items, first, error, loading, more, reload } = usePages<TaskSummary, TaskList>(
    wanted,
    (after, signal) => get('tasks', { after, limit: 25, search: wanted }, signal),
    ({ tasks }) => tasks,
  )
  return (
    <>
      <div class="heading">
        <h1>Tasks {first && wanted === '' && <span class="count">{count(first.total)}</span>}</h1>
        <div class="tools">
          <input
            type="search"
            aria-label="Search tasks by id"
            placeholder="Search by id"
            value={search}
            onInput={({ currentTarget }) => setSearch(currentTarget.value)}
          />
          <Button kind="primary" onClick={() => setNewTask({})}>
            New task
          </Button>
        </div>
      </div>
      <Problem error={error} onRetry={reload} />
      {items.length > 0 && (
        <Table label="Tasks">
          <thead>
            <tr>
              <th scope="col">Task</th>
              <th scope="col">Predicts</th>
              <th scope="col">Labels</th>
              <th scope="col" class="number">
                Examples
              </th>
              <th scope="col">State</th>
            </tr>
          </thead>
          <tbody>
            {items.map((task) => (
              <TaskRow key={task.id} task={task} />
            ))}
          </tbody>
        </Table>
      )}
      {items.length === 0 && loading && <Loading what="tasks" />}
      {items.length === 0 && !loading && !error && (
        <Empty title={wanted === '' ? 'No tasks yet' : `No task has “${wanted}” in its id`}>
          {wanted === '' ? (
            <p>
              A task is a classifier that you make from examples: drop a file with texts and labels below, and the
              server learns it in seconds.
            </p>
          ) : (
            <p>Ids are matched as a whole string of characters. Try a shorter part.</p>
          )}
        </Empty>
      )}
      <More more={more} loading={loading && items.length > 0} />
      <Dropzone
        title="Drop a file with examples here to make a task"
        hint="CSV, TSV, JSON, JSON Lines, Parquet or CoNLL, with a column of texts and one of labels"
        onFile={(file) => setNewTask({ file })}
      />
      {newTask && <NewTask {...newTask} onClose={() => setNewTask(undefined)} />}
    </>
  )
}

function TaskRow({ task: { id, version, origin, examples } }: { readonly task: TaskSummary }) {
  const details = useDetails(id, version)
  return (
    <tr>
      <th scope="row">
        <a href={link(['tasks', id])}>{id}</a>
      </th>
      <td>{details ? problemName(details.problem_type) : '–'}</td>
      <td class="labels">{details ? <Labels labels={details.labels} /> : '–'}</td>
      <td class="number">{examples === 0 ? '–' : count(examples)}</td>
      <td>
        {origin === 'draft' && <Badge tone="warn">no version yet</Badge>}
        {origin === 'uploaded' && <Badge tone="good">live</Badge>}
        {origin === 'bundled' && <Badge>comes with the server</Badge>}
      </td>
    </tr>
  )
}

function Labels({ labels }: { readonly labels: readonly string[] }) {
  const shown = labels.slice(0, 4)
  if (labels.length === 0) return <>–</>
  return (
    <>
      {shown.join(', ')}
      {labels.length > shown.length && <span class="soft"> and {labels.length - shown.length} more</span>}
    </>
  )
}

/** Descriptions by the digest of the file, which never changes. */
const known = new Map<string, Task>()
const mostKnown = 2000
let loading = 0
const waiting: (() => void)[] = []

/** Loads the description of a task that is on the screen: three at a time, because they are not urgent. */
function useDetails(id: string, version: string | null): Task | undefined {
  const [details, setDetails] = useState(version === null ? undefined : known.get(`${id} ${version}`))
  useEffect(() => {
    if (version === null || known.has(`${id} ${version}`)) return
    const stop = new AbortController()
    const load = async () => {
      if (stop.signal.aborted) return
      try {
        const task = await get<Task>(path('tasks', id), {}, stop.signal)
        if (known.size < mostKnown) known.set(`${id} ${version}`, task)
        setDetails(task)
      } catch {
        // The list is complete without it.
      }
    }
    const run = async () => {
      loading++
      await load()
      loading--
      waiting.shift()?.()
    }
    if (loading < 3) void run()
    else waiting.push(() => void run())
    return () => stop.abort()
  }, [id, version])
  return details
}
