// A table of jobs.

import { call, path } from '../api/client.js'
import { useAction } from '../api/query.js'
import type { Job } from '../api/types.js'
import { count, words } from '../format.js'
import { link } from '../route.js'
import { ActionsHeading, Ago, Badge, Button, Problem, Table } from './parts.js'
import { ScoreText } from './score.js'

const tones = { queued: 'neutral', running: 'accent', succeeded: 'good', failed: 'bad', cancelled: 'neutral' } as const

export const JobTable = ({
  jobs,
  withTask = true,
  onChanged,
}: {
  readonly jobs: readonly Job[]
  readonly withTask?: boolean
  /** With this, jobs that are not finished can be cancelled. */
  readonly onChanged?: () => void
}) => (
  <Table label="Jobs">
    <thead>
      <tr>
        {withTask && <th scope="col">Task</th>}
        <th scope="col">State</th>
        <th scope="col">Result</th>
        <th scope="col" class="number">
          Examples
        </th>
        <th scope="col">Created</th>
        <th scope="col">By</th>
        {onChanged && <ActionsHeading />}
      </tr>
    </thead>
    <tbody>
      {jobs.map((job) => (
        <JobRow key={job.id} job={job} withTask={withTask} onChanged={onChanged} />
      ))}
    </tbody>
  </Table>
)

function JobRow({
  job,
  withTask,
  onChanged,
}: {
  readonly job: Job
  readonly withTask: boolean
  readonly onChanged: (() => void) | undefined
}) {
  const { id, task, state, phase, progress, examples, created, by } = job
  const { busy, error, run } = useAction()
  const cancel = () =>
    void run(async () => {
      await call<void>('DELETE', path('jobs', id))
      onChanged?.()
    })
  const unfinished = state === 'queued' || state === 'running'
  return (
    <tr>
      {withTask && (
        <th scope="row">
          <a href={link(['tasks', task, 'learn'])}>{task}</a>
        </th>
      )}
      <td>
        <Badge tone={tones[state]}>{state}</Badge>{' '}
        {state === 'running' && phase && (
          <span class="soft">
            {phase} {progress !== undefined && `${Math.round(progress * 100)} %`}
          </span>
        )}
      </td>
      <td>
        <Outcome job={job} />
        <Problem error={error} />
      </td>
      <td class="number">{examples === undefined ? '–' : count(examples)}</td>
      <td class="soft">
        <Ago time={created} />
      </td>
      <td class="soft">{by ?? '–'}</td>
      {onChanged && (
        <td class="number">
          {unfinished && (
            <Button kind="quiet" busy={busy} aria-label={`Cancel the job of ${task}`} onClick={cancel}>
              Cancel
            </Button>
          )}
        </td>
      )}
    </tr>
  )
}

function Outcome({ job: { task, version, activated, metric, score, interval, error } }: { readonly job: Job }) {
  if (error) return <span class="bad-text">{error.message}</span>
  if (version === undefined) return <span class="soft">–</span>
  return (
    <>
      <a href={link(['tasks', task, 'report'], { version: String(version) })}>version {version}</a>{' '}
      {score !== undefined && (
        <>
          {words(metric ?? 'score')} <ScoreText score={score} interval={interval} />
        </>
      )}
      {activated === false && <span class="soft"> not made live</span>}
    </>
  )
}
