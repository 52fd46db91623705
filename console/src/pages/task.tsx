// One task: its heading and tabs.

import { useState } from 'preact/hooks'
import { ApiError, call, get, path } from '../api/client.js'
import { type Loaded, useAction, useLoaded } from '../api/query.js'
import type { Task, VersionPage } from '../api/types.js'
import { problemName } from '../format.js'
import { go, link } from '../route.js'
import { Badge, Button, Confirm, Loading, Problem } from '../ui/parts.js'
import { Examples } from './examples.js'
import { Learn } from './learn.js'
import { Report } from './report.js'
import { Try } from './try.js'
import { Versions } from './versions.js'

const tabs = ['try', 'examples', 'learn', 'report', 'versions'] as const

/** What the tabs of a task need to know about it. */
export interface OpenTask {
  readonly id: string
  /** Undefined for a draft: examples without a version. */
  readonly task: Task | undefined
  /** Undefined for a draft and for a task that comes with the server. */
  readonly versions: VersionPage | undefined
  /** Whether it comes with the server and cannot be changed. */
  readonly fixed: boolean
  readonly reload: () => void
}

async function open(id: string, signal: AbortSignal): Promise<Omit<OpenTask, 'reload'>> {
  try {
    const task = await get<Task>(path('tasks', id), {}, signal)
    const fixed = task.origin === 'bundled'
    const versions = fixed ? undefined : await get<VersionPage>(path('tasks', id, 'versions'), { limit: 100 }, signal)
    return { id, task, versions, fixed }
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== 'no_version') throw error
    // It may have versions of which none is live.
    const versions = await get<VersionPage>(path('tasks', id, 'versions'), { limit: 100 }, signal).catch(
      () => undefined,
    )
    return { id, task: undefined, versions: versions?.versions.length === 0 ? undefined : versions, fixed: false }
  }
}

export function TaskPage({
  id,
  tab,
  query,
}: {
  readonly id: string
  readonly tab: string
  readonly query: URLSearchParams
}) {
  const loaded = useLoaded(id, (signal) => open(id, signal))
  const { data, error, reload } = loaded
  return (
    <>
      <p class="crumbs">
        <a href={link(['tasks'])}>Tasks</a>
      </p>
      <Heading id={id} loaded={loaded} />
      <nav class="tabs" aria-label="Parts of the task">
        {tabs.map((name) => (
          <a key={name} href={link(['tasks', id, name])} {...(name === tab && { 'aria-current': 'page' as const })}>
            {name.charAt(0).toUpperCase() + name.slice(1)}
          </a>
        ))}
      </nav>
      <Problem error={error} onRetry={reload} />
      {!data && !error && <Loading what="the task" />}
      {data && <Tab open={{ ...data, reload }} tab={tab} query={query} />}
    </>
  )
}

function Tab({ open, tab, query }: { readonly open: OpenTask; readonly tab: string; readonly query: URLSearchParams }) {
  switch (tab) {
    case 'examples':
      return <Examples open={open} />
    case 'learn':
      return <Learn open={open} />
    case 'report':
      return <Report open={open} version={query.get('version')} />
    case 'versions':
      return <Versions open={open} />
    default:
      return <Try open={open} version={query.get('version')} against={query.get('against')} />
  }
}

function Heading({ id, loaded: { data } }: { readonly id: string; readonly loaded: Loaded<Omit<OpenTask, 'reload'>> }) {
  const [deleting, setDeleting] = useState(false)
  const { busy, error, run } = useAction()
  const task = data?.task
  const remove = () =>
    void run(async () => {
      if (task) await call<void>('DELETE', path('tasks', id))
      else await call<void>('DELETE', path('tasks', id, 'examples'))
      go(['tasks'])
    })
  return (
    <div class="heading">
      <div>
        <h1>{id}</h1>
        {data && (
          <p class="soft">
            {task ? problemName(task.problem_type) : 'No version is live'}
            {task && task.labels.length > 0 && <>: {task.labels.slice(0, 6).join(', ')}</>}
            {task && task.labels.length > 6 && ` and ${task.labels.length - 6} more`}{' '}
            {data.fixed && <Badge>comes with the server</Badge>}
            {data.versions && data.versions.active !== null && (
              <Badge tone="good">version {data.versions.active} is live</Badge>
            )}
            {data.versions?.candidate && (
              <>
                {' '}
                <Badge tone="accent">version {data.versions.candidate.version} is a candidate</Badge>
              </>
            )}
          </p>
        )}
      </div>
      {data && !data.fixed && (
        <div class="tools">
          <Button kind="quiet" onClick={() => setDeleting(true)}>
            Delete task
          </Button>
        </div>
      )}
      {deleting && (
        <Confirm
          title={`Delete ${id}?`}
          action="Delete task"
          busy={busy}
          error={error}
          onConfirm={remove}
          onClose={() => setDeleting(false)}
        >
          <p>All its versions and examples are deleted. Programs that use it get an error. This cannot be undone.</p>
        </Confirm>
      )}
    </div>
  )
}
