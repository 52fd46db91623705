// Workers and hosts that are killed. The workers are processes, each with a socket to this one.

import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { toMachineTime } from '../../src/inference/machine-clock.js'
import { RemoteInference } from '../../src/inference/remote-inference.js'
import { connectWorker, hostOf, operator, resultOf, setUpEngines, submissionOf, tenantOf, until } from './setup.js'

const script = fileURLToPath(new URL('./worker-process.js', import.meta.url))

function start(t: TestContext, role: 'worker' | 'host' | 'clock') {
  const child = fork(script, [role], { stdio: ['ignore', 'inherit', 'inherit', 'pipe', 'ipc'] })
  t.after(() => child.kill('SIGKILL'))
  const socket = child.stdio[3]
  assert.ok(socket instanceof Duplex)
  return { child, socket }
}

async function kill(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

describe('a worker that is killed', () => {
  test('at any moment leaves no rows behind, and other workers get their results', async (t) => {
    const engines = setUpEngines({ maxQueueRows: 100_000 })
    const { dispatcher, engine } = engines
    const host = hostOf(engines, 10 * 2 ** 20)
    const other = await connectWorker(t, host)
    const workers = Array.from({ length: 6 }, () => start(t, 'worker'))
    await Promise.all(
      workers.map(async ({ child, socket }, index) => {
        const channel = host.serve(socket, `worker ${index}`)
        await once(child, 'message')
        await wait(7 * index)
        // The last one is killed when rows are computed.
        if (index === workers.length - 1) await until(() => engine.batches.length > 0)
        await kill(child)
        const loss = await channel.ended
        assert.match(loss.message, new RegExp(`^the connection to worker ${index} has ended: `))
      }),
    )
    await until(() => dispatcher.idle)
    const row = submissionOf(9)
    const results = await other.submit(operator, [row], { deadline: performance.now() + 10_000 })
    assert.deepEqual(results, [resultOf(row.row, row.row.bitset())])
  })

  test('gives back the tokens of its rows that no engine started', async (t) => {
    const engines = setUpEngines({ maxTokens: 64 }, performance.now())
    const { dispatcher, engine, rates } = engines
    const { tenant } = tenantOf({ tokensPerSecond: 1e6 })
    assert.ok(tenant)
    const remaining = () => rates.statuses(tenant)[0]?.remaining
    engine.hold()
    const { child, socket } = start(t, 'worker')
    const channel = hostOf(engines).serve(socket, 'worker 1')
    // Sixteen requests of 90 tokens. The engine takes the first batch.
    await until(() => remaining() === 1e6 - 16 * 90)
    const started = engine.batches.flat().reduce((sum, { inputIds }) => sum + inputIds.length, 0)
    assert.ok(started > 0 && dispatcher.queuedRows === 48 - engine.batches.flat().length)
    await kill(child)
    await channel.ended
    await until(() => dispatcher.queuedRows === 0)
    engine.release()
    await until(() => dispatcher.idle)
    assert.equal(engine.batches.length, 1)
    assert.equal(remaining(), 1e6 - started)
  })
})

test('the requests of a worker fail with a clear problem when the process of the engines is killed', async (t) => {
  const { child, socket } = start(t, 'host')
  const worker = await RemoteInference.connect(socket)
  const submit = () => worker.submit(operator, [submissionOf(9)], { deadline: performance.now() + 60_000 })
  const lost = { code: 'engine_lost', message: /^the connection to the process of the engines has ended: / }
  const failures = Promise.all(Array.from({ length: 20 }, () => assert.rejects(submit(), lost)))
  await wait(20)
  await kill(child)
  await failures
  await assert.rejects(submit(), lost)
  assert.equal((await worker.ended).code, 'engine_lost')
})

test('processes agree on the time', async (t) => {
  const { child } = start(t, 'clock')
  await once(child, 'spawn')
  for (let question = 0; question < 3; question++) {
    const before = toMachineTime(performance.now())
    child.send('time')
    const [there] = (await once(child, 'message')) as [number]
    const after = toMachineTime(performance.now())
    // Each process reads the two clocks at its start one after the other.
    assert.ok(before - 5 < there && there < after + 5, `${before} < ${there} < ${after}`)
  }
})
