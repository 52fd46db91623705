import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { noDetails } from '../../src/jobs/job.js'
import { operator } from '../../src/tenants/tenant.js'
import { temporaryDirectory } from '../material.js'
import { PostgresServer, withoutPostgres } from '../postgres.js'
import { replica } from '../store/replica.js'
import { findLearner, isAlive, type Learning, openLearning } from './material.js'
import { seeds } from './seeds.js'

const script = fileURLToPath(new URL('./learning-process.js', import.meta.url))
const children: ChildProcess[] = []
after(() => {
  for (const child of children) child.kill('SIGKILL')
})

async function startProcess(...args: string[]): Promise<ChildProcess> {
  const child = fork(script, args)
  children.push(child)
  await once(child, 'message')
  return child
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL')
  await once(child, 'exit')
}

/** Jobs in a store that other processes use, too. They run elsewhere. */
const withoutRunner = async (directory: string) => openLearning({ atOnce: 0 }, { directory: directory })

const stagesOf = ({ tasks }: Learning, task: string) =>
  tasks.versions(operator, task).map(({ source }) => source.kind === 'job' && source.stage)

describe('a server that is killed while a job runs', { timeout: 60_000 }, () => {
  test('starts it again after the restart, and makes each version once', async () => {
    const directory = await temporaryDirectory()
    const before = await withoutRunner(directory)
    await before.post('tickets')
    const job = await before.learn('tickets', { seed: seeds.hang })
    const server = await startProcess(directory)
    const { pid } = await findLearner(directory)
    while (before.tasks.digest(operator, 'tickets') === undefined) await delay(10)
    await kill(server)
    while (isAlive(pid)) await delay(10)

    const restarted = await openLearning({}, { directory })
    const { folder } = await findLearner(directory)
    writeFileSync(join(folder, 'go'), '')
    const { attempt, outcome } = await restarted.reaches(job, 'succeeded')
    assert.deepEqual([attempt, outcome?.version, outcome?.activated], [2, 2, true])
    assert.deepEqual(stagesOf(restarted, 'tickets'), ['head', 'final'])
  })

  test('gives it up after three kills', async () => {
    const directory = await temporaryDirectory()
    const jobs = await withoutRunner(directory)
    await jobs.post('tickets')
    const job = await jobs.learn('tickets', { seed: seeds.hangBeforeHead })
    for (let attempt = 1; attempt <= 3; attempt++) {
      const server = await startProcess(directory)
      while ((await jobs.reaches(job, 'running')).attempt < attempt) await delay(10)
      await kill(server)
    }
    await startProcess(directory)
    const { error } = await jobs.reaches(job, 'failed')
    assert.equal(error?.code, 'learner_crashed')
    assert.match(error?.message ?? '', /started 3 times/)
  })

  test('at any moment loses no job and no example, and learns nothing twice', async () => {
    const directory = await temporaryDirectory()
    const jobs = await withoutRunner(directory)
    const made = []
    for (const task of ['a', 'b', 'c', 'd']) {
      await jobs.post(task)
      made.push(await jobs.learn(task))
    }
    for (const ms of [200, 600]) {
      const server = await startProcess(directory)
      await delay(ms)
      await kill(server)
    }
    await startProcess(directory)
    for (const job of made) {
      const { outcome } = await jobs.reaches(job, 'succeeded')
      assert.equal(outcome?.version, 2)
      assert.deepEqual(stagesOf(jobs, job.task), ['head', 'final'])
      assert.equal(jobs.examples.dataset(operator, job.task)?.examples, 4)
    }
    assert.equal(jobs.store.count('unfinished'), 0)
  })
})

describe('two replicas on one database', { skip: withoutPostgres, timeout: 120_000 }, () => {
  test('run a job once, and the second takes it over if the first dies', async () => {
    const database = await PostgresServer.start()
    const url = database.url()
    const store = (await replica(url)).store
    const here = await openLearning({ atOnce: 0 }, { store })
    await here.post('tickets')
    const job = await here.learn('tickets', { seed: seeds.hang })
    const directories = [await temporaryDirectory(), await temporaryDirectory()]
    const servers = await Promise.all(directories.map((directory) => startProcess(directory, url)))
    const runs = await Promise.race(directories.map((each) => findLearner(each)))
    const first = directories.findIndex((directory) => runs.folder.startsWith(directory))
    const [runner, other] = [servers[first], directories[1 - first] ?? '']
    assert.ok(runner)
    await here.reaches(job, 'running')
    // Several leases long: a lease that is renewed is not taken over.
    await delay(2_500)
    assert.equal((await here.reaches(job, 'running')).attempt, 1)
    while (here.tasks.digest(operator, 'tickets') === undefined) await delay(10)
    await kill(runner)
    const { folder } = await findLearner(other)
    writeFileSync(join(folder, 'go'), '')
    const { attempt, outcome } = await here.reaches(job, 'succeeded')
    assert.deepEqual([attempt, outcome?.version], [2, 2])
    assert.deepEqual(stagesOf(here, 'tickets'), ['head', 'final'])
  })
})

test('a runner that has lost a job to another one changes nothing any more', async () => {
  const { jobs, learn, post, tasks, store } = await openLearning({ atOnce: 0 })
  await post('tickets')
  const queued = await learn('tickets')
  const first = await jobs.claim(queued, 'first', 'a')
  assert.ok(first)
  // Both have seen the same renewal; one of them is faster.
  const second = await jobs.claim(first, 'second', 'b')
  assert.equal(await jobs.claim(first, 'third', 'c'), undefined)
  assert.deepEqual([second?.attempt, second?.lease?.runner], [2, 'second'])
  const lost = { job: first, token: 'a' }
  const version = { file: Buffer.of(1), digest: 'f'.repeat(64), by: 'someone', source: { kind: 'upload' } } as const
  const learned = { version, higherIsBetter: true, active: undefined, details: noDetails, wrong: [] }
  const steps = [
    jobs.renew(lost, { progress: 0.9 }, noDetails),
    jobs.addHead(lost, version),
    jobs.succeed(lost, learned),
    jobs.fail(lost, { code: 'invalid_data', message: 'any' }),
    jobs.retry(lost, { code: 'learner_crashed', message: 'any' }),
    jobs.release(lost),
  ]
  assert.deepEqual(await Promise.all(steps), Array(6).fill(undefined))
  assert.deepEqual(jobs.get(operator, queued.id), second)
  assert.deepEqual([tasks.versions(operator, 'tickets'), store.count('unfinished')], [[], 1])
})
