// What the training of a version measured: scores, each label, confusions, reliability, and the curve.

import { get, path } from '../api/client.js'
import { useLoaded } from '../api/query.js'
import type { LearnReport, Version } from '../api/types.js'
import { count, decimal, duration, percent, plural, problemName, words } from '../format.js'
import { go, link } from '../route.js'
import { Empty, Facts, Field, Loading, Notice, Problem, Table } from '../ui/parts.js'
import { ScoreText } from '../ui/score.js'
import { LossChart } from './learn.js'
import type { OpenTask } from './task.js'
import { heldOutByStep } from './use-job.js'

export function Report({
  open: { id, versions, fixed },
  version,
}: {
  readonly open: OpenTask
  readonly version: string | null
}) {
  if (!versions)
    return (
      <Empty title="No report">
        {fixed ? (
          <p>Tasks that come with the server have no report here.</p>
        ) : (
          <p>
            A report appears with the first version. <a href={link(['tasks', id, 'learn'])}>Learn one</a> from the
            examples.
          </p>
        )}
      </Empty>
    )
  const shown = version ?? String(versions.active ?? versions.versions[0]?.version)
  return (
    <div class="stack">
      <div class="columns">
        <Field label="Version">
          {(props) => (
            <select
              {...props}
              value={shown}
              onChange={({ currentTarget }) => go(['tasks', id, 'report'], { version: currentTarget.value })}
            >
              {versions.versions.map((each) => (
                <option key={each.version} value={String(each.version)}>
                  version {each.version}
                  {each.state === 'active' ? ' (live)' : ''}
                </option>
              ))}
            </select>
          )}
        </Field>
      </div>
      <ReportOf
        key={shown}
        id={id}
        number={shown}
        version={versions.versions.find((each) => String(each.version) === shown)}
      />
    </div>
  )
}

function ReportOf({
  id,
  number,
  version,
}: {
  readonly id: string
  readonly number: string
  readonly version: Version | undefined
}) {
  const { data, error, reload } = useLoaded(`${id} ${number}`, (signal) =>
    get<LearnReport>(path('tasks', id, 'versions', number, 'report'), {}, signal),
  )
  if (error?.code === 'no_report')
    return (
      <Empty title={`Version ${number} has no report`}>
        <p>It was uploaded as a file. Versions that this server learns have one.</p>
      </Empty>
    )
  if (error) return <Problem error={error} onRetry={reload} />
  if (!data) return <Loading what="the report" />
  return <Parts report={data} version={version} />
}

function Parts({ report, version }: { readonly report: LearnReport; readonly version: Version | undefined }) {
  const { metric, examples, held_out, folds, calibration_error, head_only, warnings, seconds, curve, epochs } = report
  const scores = report.scores ?? []
  const measured =
    folds > 1
      ? `${plural(examples, 'example')}, in ${folds} folds`
      : `${count(held_out)} held out of ${plural(examples, 'example')}`
  const facts = [
    ...(scores.length > 0
      ? scores.map((score) => ({
          name: words(score.metric),
          value: (
            <ScoreText
              score={score.value}
              interval={score.low !== undefined && score.high !== undefined ? [score.low, score.high] : undefined}
            />
          ),
        }))
      : version?.score === undefined
        ? []
        : [{ name: words(metric), value: <ScoreText score={version.score} interval={version.interval} /> }]),
    ...(calibration_error === undefined ? [] : [{ name: 'calibration error', value: decimal(calibration_error) }]),
    { name: 'predicts', value: problemName(report.problem_type).toLowerCase() },
    { name: 'measured on', value: measured },
    { name: 'learned in', value: duration(seconds) },
    ...(head_only === undefined ? [] : [{ name: `${words(metric)} of a head alone`, value: decimal(head_only) }]),
  ]
  const heldOut = heldOutByStep(epochs, curve.at(-1)?.step ?? 0)
  return (
    <>
      <section class="card">
        <h2>Scores on held-out examples</h2>
        <Facts facts={facts} />
        {warnings.map((warning) => (
          <Notice key={warning} kind="warn">
            {warning}
          </Notice>
        ))}
      </section>
      {report.labels && report.labels.length > 0 && <LabelTable labels={report.labels} />}
      {report.matrix && report.matrix.labels.length > 0 && <Matrix {...report.matrix} />}
      {!report.matrix && report.confusions.length > 0 && <Confusions confusions={report.confusions} />}
      {report.reliability && report.reliability.length > 0 && <Reliability bins={report.reliability} />}
      {curve.length > 1 && (
        <section class="card">
          <h2>Training</h2>
          <LossChart curve={curve} heldOut={heldOut} />
        </section>
      )}
    </>
  )
}

const LabelTable = ({ labels }: { readonly labels: NonNullable<LearnReport['labels']> }) => (
  <section>
    <h2>Labels</h2>
    <Table label="Scores of labels">
      <thead>
        <tr>
          <th scope="col">Label</th>
          <th scope="col" class="number">
            F1
          </th>
          <th scope="col" class="number">
            Precision
          </th>
          <th scope="col" class="number">
            Recall
          </th>
          <th scope="col" class="number">
            Examples
          </th>
        </tr>
      </thead>
      <tbody>
        {labels.map(({ label, f1, precision, recall, support }) => (
          <tr key={label}>
            <th scope="row">{label}</th>
            <td class="number">{decimal(f1)}</td>
            <td class="number">{decimal(precision)}</td>
            <td class="number">{decimal(recall)}</td>
            <td class="number">{count(support)}</td>
          </tr>
        ))}
      </tbody>
    </Table>
  </section>
)

/** Rows are the labels of examples, columns what was predicted. The shade is the share of the row. */
const Matrix = ({ labels, counts }: NonNullable<LearnReport['matrix']>) => (
  <section>
    <h2>Confusion matrix</h2>
    <p class="soft">A row is a label of the examples; a column is what was predicted for them.</p>
    <Table label="Confusion matrix">
      <thead>
        <tr>
          <td />
          {labels.map((label) => (
            <th key={label} scope="col" class="number">
              {label}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {labels.map((label, row) => {
          const cells = counts[row] ?? []
          const total = cells.reduce((sum, value) => sum + value, 0)
          return (
            <tr key={label}>
              <th scope="row">{label}</th>
              {labels.map((other, column) => {
                const value = cells[column] ?? 0
                const shade = total === 0 ? 0 : Math.ceil((value / total) * 5)
                return (
                  <td key={other} class={`number cell ${row === column ? 'right' : 'wrong'} s${shade}`}>
                    {count(value)}
                  </td>
                )
              })}
            </tr>
          )
        })}
      </tbody>
    </Table>
  </section>
)

const Confusions = ({ confusions }: { readonly confusions: LearnReport['confusions'] }) => (
  <section>
    <h2>Most frequent confusions</h2>
    <Table label="Most frequent confusions">
      <thead>
        <tr>
          <th scope="col">Label of the examples</th>
          <th scope="col">Predicted</th>
          <th scope="col" class="number">
            Examples
          </th>
        </tr>
      </thead>
      <tbody>
        {confusions.slice(0, 30).map(({ expected, predicted, count: times }) => (
          <tr key={`${expected} ${predicted}`}>
            <td>{expected}</td>
            <td>{predicted}</td>
            <td class="number">{count(times)}</td>
          </tr>
        ))}
      </tbody>
    </Table>
  </section>
)

/** How often predictions of each confidence are right. On the diagonal, a score means what it says. */
function Reliability({ bins }: { readonly bins: NonNullable<LearnReport['reliability']> }) {
  const [size, edge] = [240, 34]
  const x = (share: number) => edge + share * size
  const y = (share: number) => 8 + (1 - share) * size
  const most = Math.max(...bins.map((bin) => bin.count))
  const used = bins.filter((bin) => bin.count > 0)
  const ticks = [0, 0.5, 1]
  return (
    <section class="card">
      <h2>Reliability</h2>
      <p class="soft">
        How often predictions of each confidence are right. On the dashed line, a confidence of 80 % is right in 80 % of
        the cases.
      </p>
      <div class="side-by-side">
        <svg
          viewBox={`0 0 ${size + edge + 12} ${size + 46}`}
          class="reliability"
          role="img"
          aria-label="Reliability plot; the table has its numbers"
        >
          {ticks.map((tick) => (
            <g key={tick} class="grid">
              <line x1={x(0)} x2={x(1)} y1={y(tick)} y2={y(tick)} />
              <line x1={x(tick)} x2={x(tick)} y1={y(0)} y2={y(1)} />
              <text x={x(tick)} y={y(0) + 16} text-anchor="middle">
                {tick * 100}
              </text>
              <text x={edge - 6} y={y(tick) + 4} text-anchor="end">
                {tick * 100}
              </text>
            </g>
          ))}
          <line class="ideal" x1={x(0)} y1={y(0)} x2={x(1)} y2={y(1)} />
          <polyline
            class="line"
            points={used.map(({ confidence, accuracy }) => `${x(confidence)},${y(accuracy)}`).join(' ')}
          />
          {used.map(({ low, confidence, accuracy, count: times }) => (
            <circle key={low} class="dot" cx={x(confidence)} cy={y(accuracy)} r={3 + 5 * Math.sqrt(times / most)} />
          ))}
          <text x={x(0.5)} y={size + 42} text-anchor="middle">
            confidence, %
          </text>
        </svg>
        <Table label="Reliability">
          <thead>
            <tr>
              <th scope="col" class="number">
                Confidence
              </th>
              <th scope="col" class="number">
                Right
              </th>
              <th scope="col" class="number">
                Predictions
              </th>
            </tr>
          </thead>
          <tbody>
            {used.map(({ low, confidence, accuracy, count: times }) => (
              <tr key={low}>
                <td class="number">{percent(confidence)}</td>
                <td class="number">{percent(accuracy)}</td>
                <td class="number">{count(times)}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      </div>
    </section>
  )
}
