import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { exampleId } from '../../src/examples/example.js'
import { disagreementsOf } from '../../src/jobs/disagreements.js'
import { maxUnfinished } from '../../src/jobs/jobs.js'
import { LmdbStore } from '../../src/store/lmdb.js'
import { operator } from '../../src/tenants/tenant.js'
import { taskBytes, temporaryDirectory } from '../material.js'
import { anyVersion } from '../store/replica.js'
import { findLearner, isAlive, learnerPid, openLearning } from './material.js'
import { seeds } from './seeds.js'

const code = (expected: string) => ({ code: expected })

describe('a job', { timeout: 60_000 }, () => {
  test('makes a version of the head alone, which is live first, and then the final version', async () => {
    const { jobs, tasks, store, directory, learn, post, reaches, idle, log } = await openLearning()
    await post('tickets')
    const job = await learn('tickets', { seed: seeds.learn, timeBudgetS: 90 })
    const done = await reaches(job, 'succeeded')
    const versions = tasks.versions(operator, 'tickets')
    assert.deepEqual(
      versions.map(({ number, source, score, by }) => ({ number, source, score, by })),
      [
        { number: 1, source: { kind: 'job', job: job.id, stage: 'head' }, score: 0.8, by: 'someone' },
        { number: 2, source: { kind: 'job', job: job.id, stage: 'final' }, score: 0.9, by: 'someone' },
      ],
    )
    assert.equal(tasks.digest(operator, 'tickets'), versions[1]?.digest)
    assert.deepEqual([done.head?.version, done.outcome?.version, done.outcome?.activated], [1, 2, true])
    assert.deepEqual([done.examples, done.attempt, done.lease], [4, 1, undefined])
    const { curve, epochs, scores, warnings } = jobs.details(done)
    assert.deepEqual(curve, [{ step: 1, loss: 0.7 }])
    assert.deepEqual(epochs, [{ epoch: 1, heldOutLoss: 0.6 }])
    assert.deepEqual([scores, warnings], [[{ metric: 'accuracy', value: 0.9 }], []])
    const wrong = disagreementsOf(store, operator, 'tickets')
    const ids = ['text 0', 'text 1', 'text 2', 'text 3'].map((text) => exampleId({ text })).sort()
    assert.deepEqual(wrong, [{ id: ids[0], label: 'positive', score: 0.9, version: versions[1]?.digest }])
    await idle()
    assert.deepEqual(readdirSync(join(directory, 'learning')), [])
    const audited = log.filter(({ audit, action }) => audit && action === 'job.finish')
    assert.deepEqual(
      audited.map(({ actor, object, after }) => ({ actor, object, after })),
      [
        {
          actor: 'someone',
          object: job.id,
          after: { task: 'tickets', state: 'succeeded', version: 2, activated: true },
        },
      ],
    )
  })

  test('whose result is the head alone makes one version, with the report of the training', async () => {
    const { tasks, learn, post, reaches } = await openLearning()
    await post('tickets')
    const { outcome } = await reaches(await learn('tickets', { seed: seeds.headOnly }), 'succeeded')
    const versions = tasks.versions(operator, 'tickets')
    assert.deepEqual([versions.length, outcome?.version, outcome?.activated], [1, 1, true])
    assert.ok(tasks.report(operator, 'tickets', 1), 'the version has a report')
  })

  test('activates its version only if it scores at least as well as the active one', async () => {
    const { tasks, learn, post, reaches } = await openLearning()
    await tasks.put(operator, 'tickets', 'a'.repeat(64), taskBytes('sst2'), anyVersion)
    await post('tickets')
    const worse = await reaches(await learn('tickets', { timeBudgetS: 79 }), 'succeeded')
    assert.deepEqual([worse.outcome?.activated, tasks.digest(operator, 'tickets')], [false, 'a'.repeat(64)])
    assert.match(worse.outcome?.reason ?? '', /0\.7900 against 0\.8000/)
    const equal = await reaches(await learn('tickets', { timeBudgetS: 80 }), 'succeeded')
    assert.equal(equal.outcome?.activated, true)
    assert.notEqual(tasks.digest(operator, 'tickets'), 'a'.repeat(64))
  })

  test('activates its version as its options say, whatever the scores are', async () => {
    const { tasks, learn, post, reaches } = await openLearning()
    await post('never')
    const never = await reaches(await learn('never', { activate: 'never' }), 'succeeded')
    assert.deepEqual([never.outcome?.activated, tasks.digest(operator, 'never')], [false, undefined])
    await tasks.put(operator, 'always', 'a'.repeat(64), taskBytes('sst2'), anyVersion)
    await post('always')
    const always = await reaches(await learn('always', { activate: 'always', timeBudgetS: 1 }), 'succeeded')
    assert.equal(always.outcome?.activated, true)
    assert.notEqual(tasks.digest(operator, 'always'), 'a'.repeat(64))
  })

  test('does not replace a version that was activated while it ran', async () => {
    const { tasks, learn, post, reaches, directory } = await openLearning()
    await tasks.put(operator, 'tickets', 'a'.repeat(64), taskBytes('sst2'), anyVersion)
    await post('tickets')
    const job = await learn('tickets', { seed: seeds.hang })
    const { folder } = await findLearner(directory)
    await tasks.put(operator, 'tickets', 'b'.repeat(64), taskBytes('subj'), anyVersion)
    writeFileSync(join(folder, 'go'), '')
    const { outcome } = await reaches(job, 'succeeded')
    assert.deepEqual([outcome?.activated, outcome?.reason], [false, 'another version was activated while the job ran'])
    assert.equal(tasks.digest(operator, 'tickets'), 'b'.repeat(64))
  })

  test('learns from a random part of many examples, and says so', async () => {
    const { learn, post, reaches } = await openLearning()
    await post('tickets', 30)
    const { examples, subsampledOf } = await reaches(await learn('tickets', { maxExamples: 10 }), 'succeeded')
    assert.deepEqual([examples, subsampledOf], [10, 30])
  })

  test('that the learner rejects fails with its code and text', async () => {
    const { learn, post, reaches } = await openLearning()
    await post('tickets')
    const { error } = await reaches(await learn('tickets', { seed: seeds.fail }), 'failed')
    assert.deepEqual(error, { code: 'invalid_data', message: 'examples.jsonl has only one label' })
  })

  test('whose learner crashes three times fails', async () => {
    const { learn, post, reaches, tasks } = await openLearning()
    await post('tickets')
    const { error, attempt } = await reaches(await learn('tickets', { seed: seeds.crash }), 'failed')
    assert.deepEqual([error?.code, attempt], ['learner_crashed', 3])
    assert.match(error?.message ?? '', /exited with code 1, 3 times$/)
    assert.equal(tasks.digest(operator, 'tickets'), undefined)
  })

  test('whose learner is killed starts again, and keeps the head version that it has made', async () => {
    const { tasks, learn, post, reaches, directory } = await openLearning()
    await post('tickets')
    const job = await learn('tickets', { seed: seeds.hang })
    const pid = await learnerPid(directory)
    while (tasks.digest(operator, 'tickets') === undefined) await delay(10)
    process.kill(pid, 'SIGKILL')
    while ((await reaches(job, 'running')).attempt < 2) await delay(10)
    while ((await learnerPid(directory)) === pid) await delay(10)
    assert.equal(tasks.versions(operator, 'tickets').length, 1)
  })

  test('is cancelled while it waits, and never starts', async () => {
    const { jobs, learn, post, directory, runner } = await openLearning()
    await post('first')
    await post('second')
    await learn('first', { seed: seeds.hang })
    await learnerPid(directory)
    const waiting = await learn('second')
    const before = await runner.cancel(operator, waiting.id)
    assert.equal(before.state, 'queued')
    const { state, started, finished } = jobs.get(operator, waiting.id)
    assert.deepEqual([state, started, typeof finished], ['cancelled', undefined, 'string'])
    await assert.rejects(runner.cancel(operator, waiting.id), code('job_finished'))
  })

  test('is cancelled while it runs, and its learner is killed', async () => {
    const { jobs, learn, post, reaches, directory, runner } = await openLearning()
    await post('tickets')
    const job = await learn('tickets', { seed: seeds.hang })
    const pid = await learnerPid(directory)
    await runner.cancel(operator, job.id)
    while (isAlive(pid) || runner.running > 0) await delay(10)
    await reaches(job, 'cancelled')
    assert.deepEqual(readdirSync(join(directory, 'learning')), [])
    assert.equal(jobs.list(operator, '', 10, { state: 'running' }).length, 0)
  })

  test('is cancelled if its task is deleted while it runs, and the task does not come back', async () => {
    const { tasks, learn, post, reaches, directory, runner } = await openLearning()
    await post('tickets')
    const job = await learn('tickets', { seed: seeds.hang })
    const pid = await learnerPid(directory)
    while (tasks.digest(operator, 'tickets') === undefined) await delay(10)
    await tasks.delete(operator, 'tickets', anyVersion)
    const { error } = await reaches(job, 'cancelled')
    assert.equal(error?.code, 'unknown_task')
    while (isAlive(pid) || runner.running > 0) await delay(10)
    assert.deepEqual([tasks.digest(operator, 'tickets'), tasks.versions(operator, 'tickets')], [undefined, []])
  })

  test('of a tenant that is removed while it runs leaves nothing behind', async () => {
    const { store, tasks, tenants, learn, post, directory, runner } = await openLearning()
    const { tenant } = await tenants.set('acme', () => ({
      limits: { tasks: null, bytes: null, examples: null, requestsPerSecond: null, tokensPerSecond: null },
      share: 1,
    }))
    await post('tickets', 4, tenant)
    await learn('tickets', { seed: seeds.hang }, tenant)
    const pid = await learnerPid(directory)
    const { leaving } = await tenants.close('acme')
    for await (const _ of tasks.clear(leaving));
    while (isAlive(pid) || runner.running > 0) await delay(10)
    for (const table of ['jobs', 'unfinished', 'versions', 'history', 'kept', 'files'] as const)
      assert.deepEqual([...store.range(table)], [], table)
  })

  test('that exceeds the quota of bytes fails with the code of the quota', async () => {
    const { tenants, learn, post, reaches, tasks } = await openLearning()
    const fileBytes = taskBytes('sst2').byteLength
    const limited = async (id: string, bytes: number) => {
      const limits = { tasks: null, bytes, examples: null, requestsPerSecond: null, tokensPerSecond: null }
      const { tenant } = await tenants.set(id, () => ({ limits, share: 1 }))
      await post('tickets', 4, tenant)
      const { error } = await reaches(await learn('tickets', {}, tenant), 'failed')
      assert.equal(error?.code, 'quota_exceeded')
      return tasks.versions(id, 'tickets').map(({ source }) => source.kind === 'job' && source.stage)
    }
    assert.deepEqual(await limited('smallest', fileBytes), [])
    // The head stays, because its own transaction has stored it.
    assert.deepEqual(await limited('small', Math.floor(1.8 * fileBytes)), ['head'])
  })

  test('that a shutdown interrupts is queued again, and the start does not count', async () => {
    const { jobs, learn, post, directory, runner } = await openLearning()
    await post('tickets')
    const { id } = await learn('tickets', { seed: seeds.hang })
    const pid = await learnerPid(directory)
    await runner.stop()
    const { state, attempt, lease } = jobs.get(operator, id)
    assert.deepEqual([state, attempt, lease, isAlive(pid)], ['queued', 0, undefined, false])
  })
})

describe('the queue of jobs', { timeout: 60_000 }, () => {
  test('has one waiting job for each task, and names it', async () => {
    const { examples, learn, post, directory } = await openLearning()
    await post('tickets')
    await learn('tickets', { seed: seeds.hang })
    await learnerPid(directory)
    // The examples may have changed since the running job started.
    const waiting = await learn('tickets')
    await assert.rejects(learn('tickets'), { code: 'job_exists', details: { task: 'tickets', job: waiting.id } })
    // The waiting job is for examples that are gone.
    await examples.deleteAll(operator, 'tickets')
    await post('tickets')
    await learn('tickets')
  })

  test('accepts no job for a task without examples, and a bounded number for each owner', async () => {
    const { learn, post, tasks } = await openLearning({ atOnce: 0 })
    await tasks.put(operator, 'uploaded', 'a'.repeat(64), taskBytes('sst2'), anyVersion)
    await assert.rejects(learn('uploaded'), code('no_examples'))
    for (let i = 0; i <= maxUnfinished; i++) await post(`task-${i}`, 1)
    for (let i = 0; i < maxUnfinished; i++) await learn(`task-${i}`)
    await assert.rejects(learn(`task-${maxUnfinished}`), code('too_many_jobs'))
  })

  test('of two requests at once for one task accepts one', async () => {
    const { learn, post } = await openLearning({ atOnce: 0 })
    await post('tickets')
    const results = await Promise.allSettled([learn('tickets'), learn('tickets')])
    assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  })

  test('lets owners take turns, and starts the oldest job of an owner first', async () => {
    const { tenants, learn, post, jobs, runner, reaches } = await openLearning({ atOnce: 0 })
    const limits = { tasks: null, bytes: null, examples: null, requestsPerSecond: null, tokensPerSecond: null }
    const { tenant } = await tenants.set('acme', () => ({ limits, share: 1 }))
    for (const task of ['a', 'b', 'c']) {
      await post(task)
      await learn(task)
      await delay(2)
    }
    await post('theirs', 4, tenant)
    const theirs = await learn('theirs', {}, tenant)
    const { runner: working } = await openLearning({}, { store: jobs.store })
    assert.equal(runner.running, 0)
    const mine = jobs.list(operator, '', 10)
    const ended = [await reaches(theirs, 'succeeded')]
    for (const job of mine) ended.push(await reaches(job, 'succeeded'))
    await working.stop()
    const inOrder = ended.toSorted((a, b) => ((a.started ?? '') < (b.started ?? '') ? -1 : 1)).map(({ task }) => task)
    // One owner has the first turn, and the other one the second.
    assert.ok(inOrder.indexOf('theirs') <= 1, inOrder.join())
    assert.deepEqual(
      inOrder.filter((task) => task !== 'theirs'),
      ['a', 'b', 'c'],
    )
  })

  test('keeps the newest finished jobs of an owner', async () => {
    const { jobs, learn, post, runner, store } = await openLearning({ atOnce: 0 })
    await post('tickets')
    for (let i = 0; i < 105; i++) {
      const { id } = await learn('tickets')
      await runner.cancel(operator, id)
    }
    assert.equal(jobs.list(operator, '', 1_000).length, 100)
    assert.equal(store.count('unfinished'), 0)
  })

  test('is listed newest first, in pages, and by task and state', async () => {
    const { jobs, learn, post } = await openLearning({ atOnce: 0 })
    for (const task of ['a', 'b', 'c']) {
      await post(task)
      await learn(task)
      await delay(2)
    }
    const tasksOf = (...args: Parameters<typeof jobs.list>) => jobs.list(...args).map(({ task }) => task)
    assert.deepEqual(tasksOf(operator, '', 10), ['c', 'b', 'a'])
    const [first] = jobs.list(operator, '', 1)
    assert.deepEqual(tasksOf(operator, first?.id ?? '', 10), ['b', 'a'])
    assert.deepEqual(tasksOf(operator, '', 10, { task: 'b' }), ['b'])
    assert.deepEqual(tasksOf(operator, '', 10, { state: 'running' }), [])
  })
})

test('files that a killed server has left behind are removed', async () => {
  const directory = await temporaryDirectory()
  const stale = join(directory, 'learning', 'a-job')
  mkdirSync(stale, { recursive: true })
  await openLearning({}, { store: LmdbStore.open(directory), directory })
  while (existsSync(stale)) await delay(10)
})
