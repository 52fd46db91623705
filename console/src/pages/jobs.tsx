// The jobs of all tasks of the caller.

import { useEffect, useState } from 'preact/hooks'
import { get } from '../api/client.js'
import { usePages } from '../api/query.js'
import type { Job, JobList } from '../api/types.js'
import { link } from '../route.js'
import { JobTable } from '../ui/job-table.js'
import { Empty, Loading, More, Problem } from '../ui/parts.js'
import { isFinished } from './use-job.js'

const states = ['queued', 'running', 'succeeded', 'failed', 'cancelled'] as const

export function JobsPage() {
  const [state, setState] = useState('')
  const { items, error, loading, more, reload } = usePages<Job, JobList>(
    state,
    (after, signal) => get('jobs', { after, limit: 50, state }, signal),
    ({ jobs }) => jobs,
  )
  const unfinished = items.some((job) => !isFinished(job))
  useEffect(() => {
    if (!unfinished) return
    const timer = setInterval(() => document.hidden || reload(), 3000)
    return () => clearInterval(timer)
  }, [unfinished, reload])
  return (
    <>
      <div class="heading">
        <h1>Jobs</h1>
        <div class="tools">
          <select aria-label="State" value={state} onChange={({ currentTarget }) => setState(currentTarget.value)}>
            <option value="">All states</option>
            {states.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </div>
      </div>
      <Problem error={error} onRetry={reload} />
      {items.length > 0 && <JobTable jobs={items} onChanged={reload} />}
      {items.length === 0 && loading && <Loading what="jobs" />}
      {items.length === 0 && !loading && !error && (
        <Empty title={state === '' ? 'No jobs yet' : `No job is ${state}`}>
          <p>
            A job learns a version of a task from its examples. Open a <a href={link(['tasks'])}>task</a> and choose
            Learn.
          </p>
        </Empty>
      )}
      <More more={more} loading={loading && items.length > 0} />
    </>
  )
}
