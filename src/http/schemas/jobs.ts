// Schemas of jobs: what to learn, and how it goes.

import { Type } from 'typebox'
import { activations, jobIdPattern, jobStates } from '../../jobs/job.js'
import { metricNames } from '../../learn/metrics.js'
import { problemTypes } from '../../petl/task.js'
import { list, nextPage, taskId } from './common.js'
import { component } from './component.js'

export const jobParams = Type.Object({
  id: Type.String({ pattern: jobIdPattern, description: 'Id of the job', examples: ['7vhbqil6g3k9d1r0s5t2u4nmoe'] }),
})

const activate = Type.Enum([...activations], {
  default: 'if_better',
  description:
    'When the new version becomes the active one. `if_better`: if it scores at least as well as the active one on the same ' +
    'held-out examples, or if there is no active one. A head alone, which takes seconds, becomes active first if the task ' +
    'has no version yet.',
})

export const learnRequest = component(
  'LearnRequest',
  Type.Object(
    {
      activate: Type.Optional(activate),
      problem_type: Type.Optional(Type.Enum([...problemTypes], { description: 'By default, the labels decide' })),
      metric: Type.Optional(
        Type.Enum([...metricNames], {
          description: 'What is compared and reported. By default, the problem type decides',
        }),
      ),
      time_budget_s: Type.Optional(
        Type.Integer({
          minimum: 1,
          maximum: 86_400,
          description: 'Most seconds that training may take, at most those of `--learning-time-budget-s`',
        }),
      ),
      max_examples: Type.Optional(
        Type.Integer({
          minimum: 10,
          maximum: 10_000_000,
          description: 'Most examples to learn from: a random sample of them, at most `--learning-examples`',
        }),
      ),
      seed: Type.Optional(
        Type.Integer({
          minimum: 0,
          maximum: 2 ** 31 - 1,
          default: 1,
          description: 'The same seed and the same examples give the same result on the same machine',
        }),
      ),
    },
    { additionalProperties: false, examples: [{ activate: 'if_better' }] },
  ),
)

const time = (description: string) => Type.String({ description: `${description}, in ISO 8601` })
const score = (description: string) => Type.Number({ description })

const summary = {
  id: Type.String({ description: 'Newer jobs have ids that sort first' }),
  task: Type.String({ description: 'Id of the task' }),
  state: Type.Enum([...jobStates], {
    description: 'queued and running jobs become succeeded, failed or cancelled. A running job may be queued again.',
  }),
  phase: Type.Optional(Type.String({ description: 'What it does: reading, head, comparing, training, evaluating' })),
  progress: Type.Number({ description: 'Share of the work that is done, from 0 to 1' }),
  seconds_left: Type.Optional(Type.Number({ description: 'Estimate; absent while there is none' })),
  created: time('When it was made'),
  started: Type.Optional(time('When it was last started')),
  finished: Type.Optional(time('When it ended')),
  by: Type.String({ description: 'Who made it, as in the audit log' }),
  attempt: Type.Integer({ description: 'How often it was started. A job whose server is killed starts again.' }),
  activate,
  examples: Type.Optional(Type.Integer({ description: 'Number of examples that it learns from' })),
  subsampled_of: Type.Optional(
    Type.Integer({ description: 'Number of examples of the task, if it learns only from a random sample of them' }),
  ),
  head: Type.Optional(
    Type.Object(
      { version: Type.Integer(), score: score('On held-out examples') },
      { description: 'The version with a new head alone, which is made first' },
    ),
  ),
  metric: Type.Optional(Type.String({ description: 'What `score` is' })),
  score: Type.Optional(score('Of the new version, on held-out examples')),
  interval: Type.Optional(
    Type.Unsafe<readonly [number, number]>(
      Type.Array(Type.Number(), { minItems: 2, maxItems: 2, description: 'Confidence interval of the score (95 %)' }),
    ),
  ),
  version: Type.Optional(Type.Integer({ description: 'Number of the version that it made' })),
  activated: Type.Optional(Type.Boolean({ description: 'Whether that version became the active one' })),
  reason: Type.Optional(Type.String({ description: 'Why it became the active version, or why not' })),
  error: Type.Optional(
    Type.Object(
      { code: Type.String(), message: Type.String() },
      { description: 'Why it failed, why it was cancelled by the server, or why it is queued again' },
    ),
  ),
}

const point = Type.Object({ step: Type.Integer(), loss: Type.Number() })
const epoch = Type.Object({ epoch: Type.Integer(), held_out_loss: Type.Number() })

export const jobSummary = component('JobSummary', Type.Object(summary))
export const jobSchema = component(
  'Job',
  Type.Object({
    ...summary,
    scores: list(
      Type.Object({
        metric: Type.String(),
        value: Type.Number(),
        low: Type.Optional(Type.Number()),
        high: Type.Optional(Type.Number()),
      }),
      { description: 'All metrics of the new version; empty until the job has succeeded' },
    ),
    curve: list(point, { description: 'Loss of the training examples, smoothed' }),
    epochs: list(epoch, { description: 'Loss of the held-out examples after each epoch' }),
    warnings: list(Type.String(), { description: 'What is odd about the examples' }),
  }),
)

export const jobListQuery = Type.Object(
  {
    after: Type.Optional(
      Type.String({
        pattern: `^$|${jobIdPattern}`,
        description: 'Returns only jobs that were made before this one: the `next` of the previous page',
      }),
    ),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1000, default: 100, description: 'Most entries of a page' }),
    ),
    task: Type.Optional(Type.String({ ...taskId, description: 'Only jobs of this task', examples: ['my-task'] })),
    state: Type.Optional(Type.Enum([...jobStates], { description: 'Only jobs in this state' })),
  },
  { additionalProperties: false },
)
export const jobListSchema = component('JobList', Type.Object({ jobs: list(jobSummary), next: nextPage }))

const jobEvent = {
  event: Type.Enum(['job', 'progress']),
  data: Type.String({ contentMediaType: 'application/json' }),
}
/** One event of the stream. */
export const jobEvents = Type.Object(jobEvent, {
  description:
    'One of the server-sent events. `job` has the job, without its curve and epochs, whenever it has changed. `progress` has a point of ' +
    'the curve, {step, loss}, or an epoch, {epoch, held_out_loss}. All points so far come first. The stream ends after ' +
    'the job has ended.',
})
