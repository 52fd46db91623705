import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { ExampleStore } from '../../src/examples/example-store.js'
import { streamsPerOwner } from '../../src/jobs/event-streams.js'
import { operator, type TaskOwner } from '../../src/tenants/tenant.js'
import { newTenant, operatorKey, type Running, startRunning, stopRunning } from '../http/running.js'
import { temporaryDirectory } from '../material.js'
import { findLearner, tinyLearner } from './material.js'
import { seeds } from './seeds.js'

interface JobBody {
  readonly id: string
  readonly task: string
  readonly state: string
  readonly version?: number
  readonly head?: object
  readonly error?: { readonly code: string }
  readonly curve?: readonly object[]
}

async function startLearning(flags: Parameters<typeof startRunning>[0] = {}) {
  const dataDir = await temporaryDirectory()
  const running = await startRunning({ dataDir, ...flags }, { learner: tinyLearner })
  const { app, server } = running
  const post = (task: string, owner: TaskOwner = operator) =>
    new ExampleStore(server.services.store).put(owner, task, [
      { text: 'good', label: 'positive', source: 'upload' },
      { text: 'bad', label: 'negative', source: 'upload' },
    ])
  const learn = (task: string, body: object = { seed: seeds.learn, time_budget_s: 90 }) =>
    app.inject({ method: 'POST', url: `/tasks/${task}/learn`, payload: body })
  const job = async (id: string) => (await app.inject(`/jobs/${id}`)).json<JobBody>()
  const ended = async (id: string): Promise<JobBody> => {
    for (;;) {
      const found = await job(id)
      if (found.state !== 'queued' && found.state !== 'running') return found
      await delay(20)
    }
  }
  return { ...running, dataDir, post, learn, job, ended }
}

/** The events of a text, each with its name and data. */
const eventsOf = (text: string) =>
  text
    .split('\n\n')
    .filter((part) => part.startsWith('event: '))
    .map((part) => {
      const [, name = '', data = ''] = /^event: (\w+)\ndata: (.*)$/.exec(part) ?? []
      return { name, data: JSON.parse(data) as Record<string, unknown> }
    })

describe('jobs over HTTP', { timeout: 120_000 }, () => {
  let learning: Awaited<ReturnType<typeof startLearning>>
  before(async () => {
    learning = await startLearning()
  })

  test('make a version that is live, from a request without a body', async () => {
    const { app, post, ended } = learning
    await post('reviews')
    const made = await app.inject({ method: 'POST', url: '/tasks/reviews/learn' })
    assert.equal(made.statusCode, 202)
    const { id, state } = made.json<JobBody>()
    assert.deepEqual([made.headers.location, state], [`/jobs/${id}`, 'queued'])
    const done = await ended(id)
    assert.deepEqual([done.state, done.version, done.curve], ['succeeded', 2, [{ step: 1, loss: 0.7 }]])
    const predicted = await app.inject({ method: 'POST', url: '/tasks/reviews/predict', payload: { inputs: 'a film' } })
    assert.equal(predicted.statusCode, 200)
    const { jobs } = (await app.inject('/jobs?task=reviews&state=succeeded')).json<{ jobs: JobBody[] }>()
    assert.deepEqual(
      jobs.map((each) => [each.id, each.curve]),
      [[id, undefined]],
    )
    const { body } = await app.inject('/metrics')
    assert.match(body, /^propetl_jobs_total\{state="succeeded"\} 1$/m)
  })

  test('are audited', async () => {
    const { app, post, learn, dataDir, log } = learning
    await post('audited')
    const { id } = (await learn('audited', { seed: seeds.hang })).json<JobBody>()
    await findLearner(dataDir, id)
    assert.equal((await app.inject({ method: 'DELETE', url: `/jobs/${id}` })).statusCode, 204)
    const lines = log.filter(({ audit, object }) => audit && object === id)
    assert.deepEqual(
      lines.map(({ action, before: was, after: is }) => [action, was ?? is]),
      [
        ['job.create', { task: 'audited', activate: 'if_better', seed: seeds.hang }],
        ['job.cancel', { task: 'audited', state: 'running' }],
      ],
    )
  })

  test('are rejected with what to do', async () => {
    const { app, post, learn } = learning
    const problem = async (response: ReturnType<typeof learn>) => {
      const { statusCode, body } = await response
      return [statusCode, (JSON.parse(body) as { code: string }).code]
    }
    assert.deepEqual(await problem(learn('nothing')), [404, 'unknown_task'])
    assert.deepEqual(await problem(learn('sst2')), [409, 'task_read_only'])
    assert.deepEqual(await problem(learn('NO')), [400, 'invalid_task_id'])
    await post('reviews')
    assert.deepEqual(await problem(learn('reviews', { activate: 'maybe' })), [400, 'invalid_request'])
    assert.deepEqual(await problem(learn('reviews', { epochs: 3 })), [400, 'invalid_request'])
    for (const url of ['/jobs/0', `/jobs/${'0'.repeat(26)}`, `/jobs/${'0'.repeat(26)}/events`])
      assert.deepEqual(await problem(app.inject(url)), [404, 'unknown_job'], url)
    assert.deepEqual(await problem(app.inject('/jobs?state=happy')), [400, 'invalid_request'])
    assert.deepEqual(await problem(app.inject({ method: 'DELETE', url: '/jobs/..%2Fx' })), [404, 'unknown_job'])
  })

  test('are streamed as events until they end', async () => {
    const { post, learn, dataDir, server } = learning
    await post('streamed')
    const { id } = (await learn('streamed', { seed: seeds.hang, time_budget_s: 90 })).json<JobBody>()
    const response = await fetch(`${server.address}/jobs/${id}/events`)
    assert.equal(response.headers.get('content-type'), 'text/event-stream')
    const { folder } = await findLearner(dataDir, id)
    await delay(500)
    writeFileSync(join(folder, 'go'), '')
    const events = eventsOf(await response.text())
    const states = events.filter(({ name }) => name === 'job').map(({ data }) => data)
    // The runner may have started the job already.
    assert.ok(states[0]?.state === 'queued' || states[0]?.state === 'running')
    assert.equal(states.at(-1)?.state, 'succeeded')
    assert.ok(states.some(({ state, head, phase }) => state === 'running' && head && phase === 'training'))
    assert.ok(states.every((state) => !('curve' in state)))
    assert.deepEqual(
      events.filter(({ name }) => name === 'progress').map(({ data }) => data),
      [
        { step: 1, loss: 0.7 },
        { epoch: 1, held_out_loss: 0.6 },
      ],
    )
    // A stream of a finished job has everything at once.
    const again = eventsOf(await (await fetch(`${server.address}/jobs/${id}/events`)).text())
    assert.deepEqual(
      again.map(({ name }) => name),
      ['progress', 'progress', 'job'],
    )
  })

  test('have a bounded number of open streams for each owner', async () => {
    const { app, post, learn, dataDir, server } = learning
    await post('watched')
    const { id } = (await learn('watched', { seed: seeds.hang })).json<JobBody>()
    await findLearner(dataDir, id)
    const watchers = Array.from({ length: streamsPerOwner }, () => new AbortController())
    const watch = ({ signal }: AbortController) => fetch(`${server.address}/jobs/${id}/events`, { signal })
    const responses = await Promise.all(watchers.map(watch))
    assert.deepEqual([...new Set(responses.map(({ status }) => status))], [200])
    assert.equal((await watch(new AbortController())).status, 429)
    for (const watcher of watchers) watcher.abort()
    for (;;) {
      const next = new AbortController()
      const { status } = await watch(next)
      next.abort()
      if (status === 200) break
      await delay(20)
    }
    assert.equal((await app.inject({ method: 'HEAD', url: `/jobs/${id}/events` })).statusCode, 405)
    await app.inject({ method: 'DELETE', url: `/jobs/${id}` })
  })

  test('are off if the setting says so', async () => {
    const { post, learn, app } = await startLearning({ learningJobs: '0' })
    await post('reviews')
    const response = await learn('reviews')
    assert.deepEqual([response.statusCode, response.json<{ code: string }>().code], [409, 'learning_disabled'])
    const { memory } = (await app.inject('/health/ready')).json<{ memory: { shares_bytes: object } }>()
    assert.ok(!('learning' in memory.shares_bytes))
  })
})

describe('jobs of tenants', { timeout: 60_000 }, () => {
  let learning: Running & Pick<Awaited<ReturnType<typeof startLearning>>, 'post' | 'dataDir'>
  before(async () => {
    learning = await startLearning({ operatorKey })
  })

  test('are seen, followed and cancelled by their owner only', async () => {
    const { app, server, post, dataDir } = learning
    const [acme, other] = [await newTenant(app, 'acme'), await newTenant(app, 'globex')]
    await post('reviews', server.services.tenants.get('acme'))
    const made = await acme('POST', '/tasks/reviews/learn', { seed: seeds.hang })
    assert.equal(made.statusCode, 202)
    const { id } = made.json<JobBody>()
    await findLearner(dataDir, id)
    assert.equal((await acme('GET', `/jobs/${id}`)).statusCode, 200)
    assert.deepEqual((await other('GET', '/jobs')).json<{ jobs: object[] }>().jobs, [])
    for (const [method, url] of [
      ['GET', `/jobs/${id}`],
      ['GET', `/jobs/${id}/events`],
      ['DELETE', `/jobs/${id}`],
      ['POST', '/tasks/reviews/learn'],
    ] as const)
      assert.equal((await other(method, url)).statusCode, 404, `${method} ${url}`)
    assert.equal((await acme('DELETE', `/jobs/${id}`)).statusCode, 204)
    assert.equal((await acme('DELETE', `/jobs/${id}`)).statusCode, 409)
  })
})

test('a shutdown ends streams, and keeps the job for the next start', { timeout: 60_000 }, async () => {
  const first = await startLearning()
  await first.post('reviews')
  const { id } = (await first.learn('reviews', { seed: seeds.hang })).json<JobBody>()
  const { pid } = await findLearner(first.dataDir, id)
  const stream = await fetch(`${first.server.address}/jobs/${id}/events`)
  const startedAt = performance.now()
  await Promise.all([stopRunning(first), stream.text()])
  assert.ok(performance.now() - startedAt < 5_000, 'the stream does not delay the shutdown until its timeout')
  assert.throws(() => process.kill(pid, 0))
  const second = await startLearning({ dataDir: first.dataDir })
  const { folder } = await findLearner(first.dataDir, id)
  writeFileSync(join(folder, 'go'), '')
  const { state, version } = await second.ended(id)
  assert.deepEqual([state, version], ['succeeded', 2])
})
