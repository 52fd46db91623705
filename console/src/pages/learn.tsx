// Learns a version of a task: options, the progress of the job as it happens, its result, and earlier jobs.

import { useEffect, useState } from 'preact/hooks'
import { call, get, path } from '../api/client.js'
import { useAction, useLoaded } from '../api/query.js'
import { type ExamplePage, type Job, type JobList, phases } from '../api/types.js'
import { ago, count, decimal, duration, plural, problemName, problemTypes, words } from '../format.js'
import { link } from '../route.js'
import { Chart } from '../ui/chart.js'
import { JobTable } from '../ui/job-table.js'
import { Badge, Button, Empty, Facts, Field, Loading, Notice, Problem, Progress } from '../ui/parts.js'
import { ScoreText } from '../ui/score.js'
import type { OpenTask } from './task.js'
import { heldOutByStep, isFinished, useJob } from './use-job.js'

export function Learn({ open }: { readonly open: OpenTask }) {
  const { id, fixed } = open
  if (fixed)
    return (
      <Empty title="This task cannot be changed">
        <p>It comes with the server as a file. Make a task of your own to teach it with examples.</p>
      </Empty>
    )
  return <OwnLearn key={id} open={open} />
}

function OwnLearn({ open: { id, reload: reloadTask } }: { readonly open: OpenTask }) {
  const [started, setStarted] = useState<Job>()
  const jobs = useLoaded(id, (signal) => get<JobList>('jobs', { task: id, limit: 20 }, signal))
  const examples = useLoaded(id, (signal) => get<ExamplePage>(path('tasks', id, 'examples'), { limit: 1 }, signal))
  const running = jobs.data?.jobs.find((job) => !isFinished(job))
  const shown = started ?? running
  const ended = () => {
    jobs.reload()
    reloadTask()
  }
  const earlier = jobs.data?.jobs.filter((job) => job.id !== shown?.id) ?? []
  return (
    <div class="stack">
      <Problem error={jobs.error} onRetry={jobs.reload} />
      {!jobs.data && !jobs.error && <Loading what="jobs" />}
      {shown && (
        <JobView
          key={shown.id}
          first={shown}
          onHead={reloadTask}
          onEnd={(job) => {
            setStarted(job)
            ended()
          }}
          onAgain={() => setStarted(undefined)}
        />
      )}
      {jobs.data && !shown && (
        <Start
          id={id}
          examples={examples.data?.total}
          onStarted={(job) => {
            setStarted(job)
            jobs.reload()
          }}
        />
      )}
      {earlier.length > 0 && (
        <section>
          <h2>Earlier jobs</h2>
          <JobTable jobs={earlier} withTask={false} />
        </section>
      )}
    </div>
  )
}

function Start({
  id,
  examples,
  onStarted,
}: {
  readonly id: string
  readonly examples: number | undefined
  readonly onStarted: (job: Job) => void
}) {
  const [activate, setActivate] = useState('if_better')
  const [problemType, setProblemType] = useState('')
  const [budget, setBudget] = useState('')
  const [most, setMost] = useState('')
  const { busy, error, run } = useAction()
  if (examples === 0)
    return (
      <Empty title="Nothing to learn from yet">
        <p>Add examples first: drop a file, or write a few by hand.</p>
        <p>
          <a class="button primary" href={link(['tasks', id, 'examples'])}>
            Go to Examples
          </a>
        </p>
      </Empty>
    )
  const start = (event: Event) => {
    event.preventDefault()
    void run(async () => {
      const json = {
        activate,
        ...(problemType !== '' && { problem_type: problemType }),
        ...(budget !== '' && { time_budget_s: Number(budget) }),
        ...(most !== '' && { max_examples: Number(most) }),
      }
      onStarted(await call<Job>('POST', path('tasks', id, 'learn'), { json }))
    })
  }
  return (
    <form class="card" onSubmit={start}>
      <h2>Learn a version</h2>
      <p class="soft">
        The server learns {examples === undefined ? 'the task' : `from ${plural(examples, 'example')}`} with low
        priority, so predictions go on meanwhile. It holds back a part of the examples to measure what it learned.
      </p>
      <Field label="When it has learned">
        {(props) => (
          <select {...props} value={activate} onChange={({ currentTarget }) => setActivate(currentTarget.value)}>
            <option value="if_better">make the version live if it is at least as good</option>
            <option value="always">make the version live</option>
            <option value="never">keep the version and do not make it live</option>
          </select>
        )}
      </Field>
      <details>
        <summary>More options</summary>
        <div class="columns">
          <Field label="What it predicts">
            {(props) => (
              <select
                {...props}
                value={problemType}
                onChange={({ currentTarget }) => setProblemType(currentTarget.value)}
              >
                <option value="">decided from the examples</option>
                {problemTypes.map((name) => (
                  <option key={name} value={name}>
                    {problemName(name)}
                  </option>
                ))}
              </select>
            )}
          </Field>
          <Field label="Most seconds" hint="Empty: the limit of the server">
            {(props) => (
              <input
                {...props}
                type="number"
                min={1}
                value={budget}
                onInput={({ currentTarget }) => setBudget(currentTarget.value)}
              />
            )}
          </Field>
          <Field label="Most examples" hint="Empty: the limit of the server">
            {(props) => (
              <input
                {...props}
                type="number"
                min={1}
                value={most}
                onInput={({ currentTarget }) => setMost(currentTarget.value)}
              />
            )}
          </Field>
        </div>
      </details>
      <Problem error={error} />
      <div class="actions">
        <Button kind="primary" type="submit" busy={busy}>
          Learn
        </Button>
      </div>
    </form>
  )
}

function JobView({
  first,
  onHead,
  onEnd,
  onAgain,
}: {
  readonly first: Job
  /** Called when a first version is ready. */
  readonly onHead: () => void
  readonly onEnd: (job: Job) => void
  readonly onAgain: () => void
}) {
  const { job, curve, epochs, epochStep, error } = useJob(first, onEnd)
  const cancel = useAction()
  const { state, phase, progress = 0, seconds_left: left, head, task } = job
  const finished = isFinished(job)
  const version = head?.version
  useEffect(() => {
    if (version !== undefined && version !== first.head?.version) onHead()
  }, [version])
  return (
    <section class="card" aria-labelledby="job">
      <div class="heading">
        <h2 id="job">{titles[state]}</h2>
        {!finished && (
          <Button busy={cancel.busy} onClick={() => void cancel.run(() => call<void>('DELETE', path('jobs', job.id)))}>
            Cancel
          </Button>
        )}
        {finished && <Button onClick={onAgain}>Learn again</Button>}
      </div>
      <Problem error={cancel.error ?? (finished ? undefined : error)} />
      {state === 'queued' && <p class="soft">The job starts as soon as the server has room for it.</p>}
      {state === 'running' && (
        <>
          <ol class="phases">
            {phases.map((name, place) => (
              <li
                key={name}
                class={phaseClass(place, phase)}
                {...(name === phase && { 'aria-current': 'step' as const })}
              >
                {phaseNames[name]}
              </li>
            ))}
          </ol>
          <Progress label="Progress of the job" share={progress} />
          <p class="soft" role="status">
            {phaseName(phase)}
            {left !== undefined && `, about ${duration(left)} left`}
          </p>
        </>
      )}
      {head && !finished && (
        <Notice kind="good">
          A first version is ready: version {head.version}, score {decimal(head.score)}.{' '}
          <a href={link(['tasks', task], { version: String(head.version) })}>Try it</a> while the rest is learned.
        </Notice>
      )}
      {curve.length > 0 && <LossChart curve={curve} heldOut={heldOutByStep(epochs, epochStep)} />}
      {finished && <Result job={job} />}
      {job.warnings?.map((warning) => (
        <Notice key={warning} kind="warn">
          {warning}
        </Notice>
      ))}
    </section>
  )
}

const titles = {
  queued: 'Waiting to start',
  running: 'Learning',
  succeeded: 'Learned',
  failed: 'Learning failed',
  cancelled: 'Cancelled',
} as const

const phaseNames = {
  reading: 'Reading examples',
  head: 'Learning a head',
  comparing: 'Comparing starts',
  training: 'Training the mask',
  evaluating: 'Measuring',
} as const

/** A later server may have others. */
const phaseName = (phase: string | undefined): string =>
  new Map<string, string>(Object.entries(phaseNames)).get(phase ?? '') ?? phase ?? 'Starting'

const phaseOrder: readonly (string | undefined)[] = phases

/** Whether a phase is over, or the current one. */
function phaseClass(place: number, current: string | undefined): string {
  const now = phaseOrder.indexOf(current)
  return place < now ? 'done' : place === now ? 'now' : ''
}

type Points = readonly { readonly step: number; readonly loss: number }[]

export function LossChart({ curve, heldOut }: { readonly curve: Points; readonly heldOut: Points }) {
  const losses = new Map(curve.map(({ step, loss }) => [step, loss]))
  const held = new Map(heldOut.map(({ step, loss }) => [step, loss]))
  const steps = [...new Set([...losses.keys(), ...held.keys()])].sort((a, b) => a - b)
  return (
    <Chart
      title="Loss by step"
      x={steps}
      lines={[
        { label: 'training', values: steps.map((step) => losses.get(step) ?? null), color: 1, joined: true },
        {
          label: 'held out',
          values: steps.map((step) => held.get(step) ?? null),
          color: 2,
          points: true,
          joined: true,
        },
      ]}
    />
  )
}

function Result({ job }: { readonly job: Job }) {
  const {
    state,
    task,
    version,
    activated,
    reason,
    error,
    metric,
    score,
    interval,
    examples,
    subsampled_of: all,
    started,
    finished,
  } = job
  if (state === 'failed')
    return (
      <div class="notice bad" role="alert">
        <p>{error?.message ?? 'The server gave no reason.'}</p>
        {error && (
          <p class="fine">
            Code <code>{error.code}</code>
          </p>
        )}
      </div>
    )
  if (state === 'cancelled') return <p class="soft">{reason ?? error?.message ?? 'No version was made.'}</p>
  const facts = [
    ...(score === undefined
      ? []
      : [{ name: words(metric ?? 'score'), value: <ScoreText score={score} interval={interval} /> }]),
    ...(examples === undefined
      ? []
      : [
          {
            name: 'examples',
            value: all === undefined ? count(examples) : `${count(examples)} of ${count(all)}`,
          },
        ]),
    ...(started && finished
      ? [{ name: 'time', value: duration((new Date(finished).getTime() - new Date(started).getTime()) / 1000) }]
      : []),
    ...(finished ? [{ name: 'finished', value: ago(finished) }] : []),
  ]
  return (
    <>
      <p>
        {version !== undefined && (
          <>
            Version {version} {activated ? <Badge tone="good">live</Badge> : <Badge>kept, not live</Badge>}
          </>
        )}{' '}
        {reason}
      </p>
      <Facts facts={facts} />
      {version !== undefined && (
        <div class="actions">
          <a class="button" href={link(['tasks', task, 'report'], { version: String(version) })}>
            Read the report
          </a>
          <a class="button primary" href={link(['tasks', task, 'try'], { version: String(version) })}>
            Try it
          </a>
        </div>
      )}
    </>
  )
}
