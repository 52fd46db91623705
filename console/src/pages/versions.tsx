// The versions of a task: their scores over time, which one is live, the candidate, and rolling back.

import { useState } from 'preact/hooks'
import { call, path } from '../api/client.js'
import { useAction } from '../api/query.js'
import type { Candidate, Version, VersionPage } from '../api/types.js'
import { ago, bytes, count, decimal, percent, plural, words } from '../format.js'
import { link } from '../route.js'
import { Chart } from '../ui/chart.js'
import { ActionsHeading, Ago, Badge, Button, Confirm, Empty, Field, FormDialog, Problem, Table } from '../ui/parts.js'
import { ScoreText } from '../ui/score.js'
import type { OpenTask } from './task.js'

export function Versions({ open }: { readonly open: OpenTask }) {
  const { id, versions, fixed } = open
  if (!versions)
    return (
      <Empty title={fixed ? 'One version' : 'No versions yet'}>
        {fixed ? (
          <p>Tasks that come with the server have one version, which cannot be changed.</p>
        ) : (
          <p>
            <a href={link(['tasks', id, 'learn'])}>Learn the first version</a> from the examples.
          </p>
        )}
      </Empty>
    )
  return <OwnVersions open={open} page={versions} />
}

type Asked = { readonly kind: 'delete' | 'candidate'; readonly version: Version }

function OwnVersions({ open: { id, reload }, page }: { readonly open: OpenTask; readonly page: VersionPage }) {
  const [asked, setAsked] = useState<Asked>()
  const { busy, error, run, clear } = useAction()
  const close = () => {
    setAsked(undefined)
    clear()
  }
  const change = (action: () => Promise<unknown>) =>
    void run(async () => {
      await action()
      setAsked(undefined)
      reload()
    })
  const setActive = (json: object) => change(() => call('PUT', path('tasks', id, 'active'), { json }))
  const { active, candidate, versions } = page
  return (
    <div class="stack">
      {!asked && <Problem error={error} />}
      {candidate && active !== null && (
        <CandidateCard id={id} active={active} candidate={candidate} busy={busy} onSet={setActive} />
      )}
      <ScoreChart versions={versions} />
      <Table label="Versions">
        <thead>
          <tr>
            <th scope="col">Version</th>
            <th scope="col">Score</th>
            <th scope="col" class="number">
              Examples
            </th>
            <th scope="col">Made</th>
            <ActionsHeading />
          </tr>
        </thead>
        <tbody>
          {versions.map((version) => (
            <Row
              key={version.version}
              id={id}
              version={version}
              active={active}
              busy={busy}
              onActivate={() => setActive({ version: version.version })}
              onAsk={(kind) => setAsked({ kind, version })}
            />
          ))}
        </tbody>
      </Table>
      {versions.length === 1 && (
        <p class="soft">
          Each upload and each job makes a version. Learn again with more examples, and this page compares them.
        </p>
      )}
      {asked?.kind === 'delete' && (
        <Confirm
          title={`Delete version ${asked.version.version}?`}
          action="Delete version"
          busy={busy}
          error={error}
          onConfirm={() => change(() => call('DELETE', path('tasks', id, 'versions', asked.version.version)))}
          onClose={close}
        >
          <p>You cannot roll back to it afterwards.</p>
        </Confirm>
      )}
      {asked?.kind === 'candidate' && (
        <CandidateDialog version={asked.version.version} busy={busy} error={error} onSet={setActive} onClose={close} />
      )}
    </div>
  )
}

function Row({
  id,
  version: { version, score, interval, metric, examples, source, by, created, bytes: size, state },
  active,
  busy,
  onActivate,
  onAsk,
}: {
  readonly id: string
  readonly version: Version
  readonly active: number | null
  readonly busy: boolean
  readonly onActivate: () => void
  readonly onAsk: (kind: Asked['kind']) => void
}) {
  const isOlder = active !== null && version < active
  return (
    <tr>
      <th scope="row">
        {version} {state === 'active' && <Badge tone="good">live</Badge>}
        {state === 'candidate' && <Badge tone="accent">candidate</Badge>}
      </th>
      <td>
        {score === undefined ? (
          <span class="soft">–</span>
        ) : (
          <>
            {metric && <span class="soft">{words(metric)} </span>}
            <a href={link(['tasks', id, 'report'], { version: String(version) })}>
              <ScoreText score={score} interval={interval} />
            </a>
          </>
        )}
      </td>
      <td class="number">{examples === undefined ? '–' : count(examples)}</td>
      <td>
        {sourceName(source)}
        {created !== null && (
          <>
            , <Ago time={created} />
          </>
        )}
        <div class="fine">
          {by !== null && `${by}, `}
          {bytes(size)}
        </div>
      </td>
      <td class="row-actions">
        {state !== 'active' && (
          <>
            <Button
              busy={busy}
              onClick={onActivate}
              aria-label={`${isOlder ? 'Roll back to' : 'Activate'} version ${version}`}
            >
              {isOlder ? 'Roll back' : 'Activate'}
            </Button>
            <a
              class="button quiet"
              href={link(['tasks', id, 'try'], { version: String(active ?? ''), against: String(version) })}
              aria-label={`Compare version ${version} with the live one`}
            >
              Compare
            </a>
          </>
        )}
        {state === 'kept' && (
          <>
            <Button
              kind="quiet"
              aria-label={`Make version ${version} the candidate`}
              onClick={() => onAsk('candidate')}
            >
              Candidate
            </Button>
            <Button kind="quiet" aria-label={`Delete version ${version}`} onClick={() => onAsk('delete')}>
              Delete
            </Button>
          </>
        )}
      </td>
    </tr>
  )
}

const sourceName = ({ kind, stage }: Version['source']): string =>
  kind === 'upload' ? 'uploaded' : stage === 'head' ? 'learned, a head alone' : 'learned'

function ScoreChart({ versions }: { readonly versions: readonly Version[] }) {
  const scored = versions.filter(({ score }) => score !== undefined).toReversed()
  if (scored.length < 2) return null
  return (
    <section class="card">
      <Chart
        title="Score by version"
        x={scored.map(({ version }) => version)}
        lines={[
          { label: 'score', values: scored.map(({ score }) => score ?? null), color: 1, points: true, joined: true },
          { label: 'low', values: scored.map(({ interval }) => interval?.[0] ?? null), color: 1, faint: true },
          { label: 'high', values: scored.map(({ interval }) => interval?.[1] ?? null), color: 1, faint: true },
        ]}
        xLabel="version"
        format={(value) => decimal(value)}
      />
    </section>
  )
}

function CandidateCard({
  id,
  active,
  candidate: { version, share, since, compared, differ },
  busy,
  onSet,
}: {
  readonly id: string
  readonly active: number
  readonly candidate: Candidate
  readonly busy: boolean
  readonly onSet: (json: object) => void
}) {
  return (
    <section class="card" aria-labelledby="candidate">
      <h2 id="candidate">Version {version} is a candidate</h2>
      <p>
        {share === undefined
          ? 'It computes the same texts as the live version, and its predictions are only compared.'
          : `It serves ${percent(share)} of the requests.`}{' '}
        {share === undefined || compared > 0 ? (
          <>
            Since {ago(since)}, {plural(compared, 'text')} {compared === 1 ? 'was' : 'were'} compared
            {compared > 0 && (
              <>
                {' '}
                and <strong>{percent(differ / compared)}</strong> of the predictions differ
              </>
            )}
            .
          </>
        ) : (
          `Its trial began ${ago(since)}.`
        )}
      </p>
      <div class="actions">
        <a
          class="button quiet"
          href={link(['tasks', id, 'try'], { version: String(active), against: String(version) })}
        >
          Compare on texts
        </a>
        <Button busy={busy} onClick={() => onSet({ version: active })}>
          Withdraw it
        </Button>
        <Button kind="primary" busy={busy} onClick={() => onSet({ version })}>
          Make it live
        </Button>
      </div>
    </section>
  )
}

function CandidateDialog({
  version,
  busy,
  error,
  onSet,
  onClose,
}: {
  readonly version: number
  readonly busy: boolean
  readonly error: Parameters<typeof Problem>[0]['error']
  readonly onSet: (json: object) => void
  readonly onClose: () => void
}) {
  const [shadow, setShadow] = useState(true)
  const [share, setShare] = useState(10)
  return (
    <FormDialog
      title={`Version ${version} as the candidate`}
      action="Make it the candidate"
      busy={busy}
      error={error}
      onSubmit={() => onSet(shadow ? { version, shadow: true } : { version, share: share / 100 })}
      onClose={onClose}
    >
      <label class="check">
        <input type="radio" name="mode" checked={shadow} onChange={() => setShadow(true)} />
        Compare silently: it computes the same texts, and nobody sees its predictions
      </label>
      <label class="check">
        <input type="radio" name="mode" checked={!shadow} onChange={() => setShadow(false)} />
        Serve a part of the requests
      </label>
      {!shadow && (
        <Field label="Part of the requests, in percent">
          {(props) => (
            <input
              {...props}
              type="number"
              min={1}
              max={99}
              required
              value={share}
              onInput={({ currentTarget }) => setShare(currentTarget.valueAsNumber)}
            />
          )}
        </Field>
      )}
    </FormDialog>
  )
}
