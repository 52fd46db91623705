// The process of the engines with several workers: which bitsets cross, and limits that hold over all workers.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { encodePacket, prepareMessage, type Values } from '../../src/inference/packets.js'
import { RemoteInference } from '../../src/inference/remote-inference.js'
import { version } from '../../src/package.js'
import { oneToken } from '../../src/scheduler/admission.js'
import type { Submission } from '../../src/scheduler/submission.js'
import { connectWorker, hostOf, operator, setUpEngines, submissionOf, tenantOf } from './setup.js'
import { connectedSockets } from './sockets.js'

const inTime = () => ({ deadline: performance.now() + 60_000 })

/** Rows of one mask, which count how often their bitset is asked for. */
function countedMask(maskKey: string, bytes = 72) {
  const asked = { count: 0 }
  const bitset = () => {
    asked.count++
    return new Uint8Array(bytes)
  }
  return {
    asked,
    rows: (): Submission[] => [submissionOf(5, { maskKey, bitset }), submissionOf(6, { maskKey, bitset })],
  }
}

describe('the host', () => {
  test('asks for a bitset once, whichever workers and requests need it', async (t) => {
    const engines = setUpEngines()
    const host = hostOf(engines)
    const workers = [await connectWorker(t, host), await connectWorker(t, host)]
    const mask = countedMask('shared')
    await Promise.all(Array.from({ length: 5 }, () => workers[0]?.submit(operator, mask.rows(), inTime())))
    for (const worker of workers) await worker.submit(operator, mask.rows(), inTime())
    assert.equal(mask.asked.count, 1)
  })

  test('asks again for a bitset that it had to forget', async (t) => {
    const worker = await connectWorker(t, hostOf(setUpEngines(), 300))
    const [a, b] = [countedMask('a'), countedMask('b')]
    for (const { rows } of [a, a, b, a]) await worker.submit(operator, rows(), inTime())
    assert.deepEqual([a.asked.count, b.asked.count], [2, 1])
  })

  test('does not ask for the bitsets of a request that it rejects', async (t) => {
    const worker = await connectWorker(t, hostOf(setUpEngines()))
    const mask = countedMask('unused')
    const rejected = worker.submit(tenantOf({ tokensPerSecond: 0.5 }), mask.rows(), inTime())
    await assert.rejects(rejected, { code: 'rate_limited' })
    assert.equal(mask.asked.count, 0)
  })

  test('fails only the request whose worker cannot provide the bitset', async (t) => {
    const worker = await connectWorker(t, hostOf(setUpEngines()))
    const broken = submissionOf(5, {
      maskKey: 'broken',
      bitset: () => {
        throw new Error('the task file is gone')
      },
    })
    const [good, bad] = await Promise.allSettled([
      worker.submit(operator, [submissionOf(5)], inTime()),
      worker.submit(operator, [broken], inTime()),
    ])
    assert.equal(good.status, 'fulfilled')
    assert.ok(bad.status === 'rejected')
    assert.equal(bad.reason.message, 'the task file is gone')
  })

  test('holds the rates of a tenant over all workers', async (t) => {
    const host = hostOf(setUpEngines({}, performance.now()))
    const [a, b] = [await connectWorker(t, host), await connectWorker(t, host)]
    const payer = tenantOf({ requestsPerSecond: 3, tokensPerSecond: 100 })
    for (const worker of [a, b, a]) await worker.takeRequest(payer)
    await assert.rejects(async () => b.takeRequest(payer), { code: 'rate_limited' })
    await a.submit(payer, [submissionOf(10, {}, 150)], inTime())
    await assert.rejects(b.submit(payer, [submissionOf(10)], inTime()), { code: 'rate_limited' })
  })

  test('gives up a worker whose token ids do not match its rows, and serves the others', async (t) => {
    const host = hostOf(setUpEngines())
    const other = await connectWorker(t, host)
    const kind = { task: 'a', maskKey: 'm', pooling: 'mean', bare: false, withHidden: false }
    const body = { payer: { owner: 'operator' }, deadline: 0, cancelled: false, kinds: [kind] }
    const malformed: readonly (readonly [unknown, readonly Values[]])[] = [
      [{ ...body, rows: [[0, 3, null]] }, [new Int32Array(5)]],
      [{ ...body, rows: [[0, 3, null]] }, [new Float32Array(6)]],
      [{ ...body, rows: [[0, 3, null]] }, []],
      [{ ...body, rows: [[1, 3, null]] }, [new Int32Array(6)]],
      [{ ...body, rows: [[0, -3, null]] }, []],
      [{ ...body, kinds: [{ ...kind, pooling: 'sum' }], rows: [[0, 3, null]] }, [new Int32Array(6)]],
    ]
    for (const [request, arrays] of malformed) {
      const [here, there] = await connectedSockets(t)
      const served = host.serve(there, 'worker 2')
      const messages = [
        { head: ['hello', `propetl/${version}`], arrays: [] },
        { head: ['request', 0, 'submit', request], arrays },
      ]
      here.write(encodePacket(messages.map(prepareMessage)))
      assert.match((await served.ended).message, /^the connection to worker 2 has ended: /)
    }
    assert.equal((await other.submit(operator, [submissionOf(5)], inTime())).length, 1)
  })
})

describe('a worker', () => {
  test('passes checks without a message while the host is calm, and asks after a rejection', async (t) => {
    const engines = setUpEngines({}, performance.now())
    const worker = await connectWorker(t, hostOf(engines))
    const payer = tenantOf({ tokensPerSecond: 100 })
    await worker.submit(payer, [submissionOf(10)], inTime())
    assert.equal(worker.check(payer, oneToken('sentiment'), inTime()), undefined)
    const asked = worker.check(tenantOf({ tokensPerSecond: 100 }, 'unknown'), oneToken('sentiment'), inTime())
    assert.ok(asked instanceof Promise)
    await asked
    await worker.submit(payer, [submissionOf(10, {}, 300)], inTime())
    await assert.rejects(async () => worker.check(payer, oneToken('sentiment'), inTime()), { code: 'rate_limited' })
    // What was heard is too old after that time.
    await wait(150)
    const askedAgain = worker.check(operator, oneToken('sentiment'), inTime())
    assert.ok(askedAgain instanceof Promise)
    await askedAgain
  })

  test('gives up a host whose vectors do not match the rows', async (t) => {
    const engines = setUpEngines()
    const inference = Object.assign(Object.create(engines.inference), { submit: async () => [] })
    const worker = await connectWorker(t, hostOf({ ...engines, inference }))
    await assert.rejects(worker.submit(operator, [submissionOf(5)], inTime()), {
      code: 'engine_lost',
      message: 'the connection to the process of the engines has ended: a response has 0 rows; expected 1',
    })
  })

  test('does not start without a host of its version', async (t) => {
    const [here, there] = await connectedSockets(t)
    there.write(encodePacket([prepareMessage({ head: ['hello', 'propetl/9.9.9'], arrays: [] })]))
    await assert.rejects(RemoteInference.connect(here), { code: 'engine_lost', message: /it speaks "propetl\/9.9.9"/ })
    const [other, closed] = await connectedSockets(t)
    closed.end()
    await assert.rejects(RemoteInference.connect(other), { code: 'engine_lost', message: /it closed the connection/ })
  })
})
