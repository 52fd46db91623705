// What holds for every implementation of Inference: in this process, and from a worker.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import type { EngineRow, RowResult } from '../../src/engine/engine.js'
import { EngineLost } from '../../src/engine/engine-lost.js'
import { Problem } from '../../src/problem.js'
import { oneToken } from '../../src/scheduler/admission.js'
import { demandOf, type Submission } from '../../src/scheduler/submission.js'
import { type Implementation, operator, resultOf, type Setup, setUp, submissionOf, tenantOf, until } from './setup.js'

const inTime = () => ({ deadline: performance.now() + 60_000 })

const bitsOf = ({ pooled, hidden }: RowResult) => ({
  pooled: Buffer.from(pooled.buffer, pooled.byteOffset, pooled.byteLength).toString('hex'),
  hidden: hidden && Buffer.from(hidden.buffer, hidden.byteOffset, hidden.byteLength).toString('hex'),
})

const expected = (rows: readonly Submission[]) => rows.map(({ row }) => bitsOf(resultOf(row, row.bitset())))

/** The Problem of a rejected request, as plain data. */
async function problemOf(request: () => unknown) {
  try {
    await request()
  } catch (error) {
    assert.ok(error instanceof Problem, String(error))
    return { code: error.code, message: error.message, details: error.details }
  }
  return assert.fail('the request was not rejected')
}

/**
 * Makes the engine busy. It takes a second batch ahead of time, unless the time stands still.
 * @returns lets it go on, and waits until it has computed them
 */
async function occupy({ inference, engine }: Setup, batches: 1 | 2): Promise<() => Promise<unknown>> {
  engine.hold()
  const requests: Promise<unknown>[] = []
  while (engine.batches.length < batches) {
    const before = engine.batches.length
    requests.push(inference.submit(operator, [submissionOf(64)], inTime()))
    await until(() => engine.batches.length > before)
  }
  return () => {
    engine.release()
    return Promise.all(requests)
  }
}

const filled = (bytes: number, value: number) => new Uint8Array(bytes).fill(value)

const rowsOfAllKinds = [
  submissionOf(25),
  submissionOf(1, { pooling: 'cls' }),
  submissionOf(30, { pooling: 'max', tokenTypeIds: new Int32Array(30) }),
  submissionOf(7, { pooling: 'last', inputIds: Int32Array.of(1, 2, 3, 4, 5, 2 ** 31 - 1, 0) }),
  submissionOf(12, { maskKey: 'bare', bare: true, bitset: () => filled(24, 0) }),
  submissionOf(9, { withHidden: true }),
  submissionOf(60, { withHidden: true, maskKey: 'one plane', bitset: () => filled(72, 5) }),
  submissionOf(8, { maskKey: 'two planes', bitset: () => filled(144, 9) }, 1_000),
  submissionOf(3, { maskKey: 'no prototype', bitset: () => filled(0, 0) }),
]

for (const implementation of ['local', 'remote'] as const satisfies readonly Implementation[])
  describe(`${implementation} inference`, () => {
    test('returns the results of all kinds of rows in their order, to the bit', async (t) => {
      const { inference, engine } = await setUp(t, implementation)
      const results = await inference.submit(operator, rowsOfAllKinds, inTime())
      assert.deepEqual(results.map(bitsOf), expected(rowsOfAllKinds))
      assert.ok(engine.batches.length > 1)
    })

    test('keeps the results of many requests apart', async (t) => {
      const { inference } = await setUp(t, implementation)
      const requests = Array.from({ length: 100 }, (_, index) =>
        Array.from({ length: 1 + (index % 4) }, (_, row) =>
          submissionOf(1 + ((7 * index + row) % 40), {
            maskKey: `mask ${index % 9}`,
            bitset: () => filled(9, index % 9),
          }),
        ),
      )
      const results = await Promise.all(requests.map((rows) => inference.submit(tenantOf(), rows, inTime())))
      assert.deepEqual(
        results.map((rows) => rows.map(bitsOf)),
        requests.map(expected),
      )
    })

    test('returns hidden states that are larger than one message', async (t) => {
      const { inference } = await setUp(t, implementation, { maxTokens: 100_000 })
      const rows = Array.from({ length: 6 }, (_, row) => submissionOf(9_000 + row, { withHidden: true }))
      const results = await inference.submit(operator, rows, { deadline: performance.now() + 600_000 })
      assert.deepEqual(results.map(bitsOf), expected(rows))
    })

    test('computes with a bitset that is larger than all bitsets that are kept', async (t) => {
      const { inference } = await setUp(t, implementation, { maskBytes: 1_000 })
      const rows = [submissionOf(5, { maskKey: 'large', bitset: () => filled(8_000_000, 3) })]
      for (let request = 0; request < 2; request++)
        assert.deepEqual((await inference.submit(operator, rows, inTime())).map(bitsOf), expected(rows))
    })

    test('uses the new mask of a task that was replaced', async (t) => {
      const { inference } = await setUp(t, implementation)
      const versions = [1, 2].map((version) => [
        submissionOf(5, { maskKey: `version ${version}`, bitset: () => filled(72, version) }),
      ])
      const results = await Promise.all(versions.map((rows) => inference.submit(operator, rows, inTime())))
      assert.deepEqual(
        results.map(([row]) => row && bitsOf(row)),
        versions.flatMap(expected),
      )
      assert.notDeepEqual(results[0], results[1])
    })

    test('returns no results for no rows', async (t) => {
      const { inference } = await setUp(t, implementation)
      assert.deepEqual(await inference.submit(operator, [], inTime()), [])
    })

    test('rejects what misses its deadline, with the same figures', async (t) => {
      const now = performance.now()
      const setup = await setUp(t, implementation, {}, now)
      const { inference, dispatcher } = setup
      const release = await occupy(setup, 1)
      const waiting = Array.from({ length: 4 }, () => inference.submit(operator, [submissionOf(64)], inTime()))
      await until(() => dispatcher.queuedRows === 4)
      // After that time, a worker asks the process of the engines again.
      await wait(150)
      const late = [submissionOf(64, { inputIds: new Int32Array(64), tokenTypeIds: new Int32Array(64) })]
      const tooLate = { deadline: now + 10.5 }
      const alone = {
        code: 'deadline_exceeded',
        message: 'the request takes about 17 ms on an idle server, but its deadline is in 10 ms',
        details: { estimated_ms: 17, left_ms: 10 },
      }
      assert.deepEqual(await problemOf(() => inference.submit(operator, late, tooLate)), alone)
      assert.deepEqual(await problemOf(() => inference.check(operator, demandOf(late), tooLate)), alone)
      const busy = await problemOf(() => inference.check(operator, demandOf(late), { deadline: now + 30.5 }))
      assert.equal(busy.code, 'overloaded')
      assert.deepEqual(Object.keys(busy.details), ['estimated_ms', 'left_ms', 'waiting_rows', 'retry_after_s'])
      assert.equal(busy.details.left_ms, 30)
      assert.equal(busy.details.waiting_rows, 4)
      await release()
      await Promise.all(waiting)
    })

    test('rejects rows that the queue has no room for', async (t) => {
      const setup = await setUp(t, implementation, { maxQueueRows: 10 })
      const { inference, dispatcher } = setup
      const release = await occupy(setup, 2)
      const waiting = inference.submit(operator, [submissionOf(64), submissionOf(64)], inTime())
      await until(() => dispatcher.queuedRows === 2)
      const rows = Array.from({ length: 5 }, () => submissionOf(1))
      const { code, message, details } = await problemOf(() => inference.submit(operator, rows, inTime()))
      assert.equal(code, 'overloaded')
      assert.match(
        message,
        /^the request has 5 texts, but the queue has room for 4: 2 texts of this tenant wait already/,
      )
      assert.deepEqual(details, { request_rows: 5, room: 4, limit: 10, waiting_rows: 2, retry_after_s: 1 })
      await Promise.all([release(), waiting])
    })

    test('fails rows whose deadline passes while they wait', async (t) => {
      const setup = await setUp(t, implementation)
      const { inference, dispatcher } = setup
      const release = await occupy(setup, 2)
      const deadline = performance.now() + 150
      const { code, details } = await problemOf(() => inference.submit(operator, [submissionOf(10)], { deadline }))
      assert.equal(code, 'deadline_exceeded')
      assert.ok(Number(details.waited_ms) > 50)
      assert.equal(dispatcher.queuedRows, 0)
      await release()
    })

    test('fails a row that cannot be computed with the error of the engine, and no other request', async (t) => {
      const { inference, engine } = await setUp(t, implementation)
      engine.failure = (rows) =>
        rows.some(({ inputIds }) => inputIds.length === 13) ? new Error('onnxruntime failed on a batch') : undefined
      const [good, bad] = await Promise.allSettled([
        inference.submit(operator, [submissionOf(12)], inTime()),
        inference.submit(operator, [submissionOf(13)], inTime()),
      ])
      assert.equal(good.status, 'fulfilled')
      assert.ok(bad.status === 'rejected' && !(bad.reason instanceof Problem))
      assert.equal(bad.reason.message, 'onnxruntime failed on a batch')
    })

    test('rejects a text with which engines are lost', async (t) => {
      const { inference, engine } = await setUp(t, implementation)
      engine.failure = () => new EngineLost({ cause: 'failed', reason: 'the thread ended' }, true)
      const submit = () => problemOf(() => inference.submit(operator, [submissionOf(3)], inTime()))
      const lost = { code: 'engine_lost', message: 'the thread ended', details: {} }
      assert.deepEqual([await submit(), await submit()], [lost, lost])
      assert.deepEqual(await submit(), {
        code: 'text_fails_engines',
        message:
          'two engines were lost while they computed a text of this request; the text is rejected for 10 minutes',
        details: {},
      })
    })

    test('removes the rows of a client that disconnects from the queue, and charges them', async (t) => {
      const setup = await setUp(t, implementation, {}, performance.now())
      const { inference, engine, dispatcher, rates } = setup
      const payer = tenantOf({ tokensPerSecond: 1_000 })
      const release = await occupy(setup, 1)
      const controller = new AbortController()
      const rows = [submissionOf(10), submissionOf(20)]
      const cancelled = problemOf(() => inference.submit(payer, rows, { ...inTime(), signal: controller.signal }))
      await until(() => dispatcher.queuedRows === 2)
      controller.abort()
      assert.deepEqual(await cancelled, {
        code: 'client_closed_request',
        message: 'the client disconnected before the request was computed',
        details: {},
      })
      assert.equal(dispatcher.queuedRows, 0)
      assert.equal(payer.tenant && rates.statuses(payer.tenant)[0]?.remaining, 970)
      await release()
      assert.equal(engine.batches.length, 1)
    })

    test('rejects the request of a client that has disconnected already, and does not charge it', async (t) => {
      const { inference, engine, dispatcher, rates } = await setUp(t, implementation, {}, performance.now())
      const payer = tenantOf({ tokensPerSecond: 1_000 })
      const dropped: unknown[] = []
      dispatcher.onDropped = (reason, rows) => dropped.push([reason, rows])
      const rows = [submissionOf(10), submissionOf(20)]
      const submit = () => inference.submit(payer, rows, { ...inTime(), signal: AbortSignal.abort() })
      assert.equal((await problemOf(submit)).code, 'client_closed_request')
      assert.equal(payer.tenant && rates.statuses(payer.tenant)[0]?.remaining, 1_000)
      assert.deepEqual(dropped, [['cancelled', 2]])
      assert.equal(engine.batches.length, 0)
    })

    test('charges tokens on admission, and refunds the rows that no engine started', async (t) => {
      const { inference, engine } = await setUp(t, implementation, {}, performance.now())
      const payer = tenantOf({ tokensPerSecond: 1_000 })
      await inference.submit(payer, [submissionOf(10), submissionOf(20, {}, 50)], inTime())
      assert.deepEqual(inference.statuses(payer), [{ rate: 'tokens', quota: 1_000, remaining: 940, fullAfter: 1 }])
      const engineIsLost = (rows: readonly EngineRow[]) =>
        rows.length > 0 ? new EngineLost({ cause: 'failed', reason: 'the thread ended' }, true) : undefined
      engine.failure = engineIsLost
      await problemOf(() => inference.submit(payer, [submissionOf(64), submissionOf(63)], inTime()))
      assert.deepEqual(inference.statuses(payer), [{ rate: 'tokens', quota: 1_000, remaining: 876, fullAfter: 1 }])
    })

    test('computes rows in the background only while no others wait and half of the tokens are left', async (t) => {
      const setup = await setUp(t, implementation, {}, performance.now())
      const { inference, dispatcher } = setup
      const payer = tenantOf({ tokensPerSecond: 100 })
      const inBackground = () => ({ ...inTime(), background: true })
      const release = await occupy(setup, 1)
      const waiting = inference.submit(operator, [submissionOf(64)], inTime())
      await until(() => dispatcher.queuedRows === 1)
      const rejected = await problemOf(() => inference.submit(payer, [submissionOf(10)], inBackground()))
      assert.equal(rejected.code, 'overloaded')
      await release()
      await waiting
      await inference.submit(payer, [submissionOf(60)], inTime())
      const spared = await problemOf(() => inference.submit(payer, [submissionOf(10)], inBackground()))
      assert.deepEqual([spared.code, /rate of tokens/.test(spared.message)], ['overloaded', true])
      const results = await inference.submit(operator, [submissionOf(10)], inBackground())
      assert.deepEqual(results.map(bitsOf), expected([submissionOf(10)]))
    })

    test('rejects a payer that has used up its tokens', async (t) => {
      const { inference } = await setUp(t, implementation, {}, performance.now())
      const payer = tenantOf({ tokensPerSecond: 100 })
      await inference.submit(payer, [submissionOf(50, {}, 250)], inTime())
      const problem = {
        code: 'rate_limited',
        message: 'tenant "acme" is limited to 100 tokens per second; try again in 2 s',
        details: { quota: 'tokens_per_second', limit: 100, retry_after_s: 2 },
      }
      assert.deepEqual(await problemOf(() => inference.check(payer, oneToken('sentiment'), inTime())), problem)
      assert.deepEqual(await problemOf(() => inference.check(payer, { rows: 0, byTask: new Map() }, inTime())), problem)
      assert.deepEqual(await problemOf(() => inference.submit(payer, [submissionOf(1)], inTime())), problem)
      assert.deepEqual(inference.statuses(payer), [{ rate: 'tokens', quota: 100, remaining: 0, fullAfter: 3 }])
      const successor = { ...payer, tenant: payer.tenant && { ...payer.tenant, incarnation: 'second' } } as typeof payer
      await inference.submit(successor, [submissionOf(1)], inTime())
    })

    test('charges requests, and rejects those over the rate', async (t) => {
      const { inference } = await setUp(t, implementation, {}, performance.now())
      const payer = tenantOf({ requestsPerSecond: 2, tokensPerSecond: 10 })
      await inference.takeRequest(payer)
      assert.deepEqual(inference.statuses(payer), [
        { rate: 'requests', quota: 2, remaining: 1, fullAfter: 1 },
        { rate: 'tokens', quota: 10, remaining: 10, fullAfter: 0 },
      ])
      await inference.takeRequest(payer)
      assert.deepEqual(await problemOf(() => inference.takeRequest(payer)), {
        code: 'rate_limited',
        message: 'tenant "acme" is limited to 2 requests per second; try again in 1 s',
        details: { quota: 'requests_per_second', limit: 2, retry_after_s: 1 },
      })
      for (const unlimited of [tenantOf({ tokensPerSecond: 1 }), operator]) await inference.takeRequest(unlimited)
    })

    test('passes a check while nothing waits', async (t) => {
      const { inference } = await setUp(t, implementation)
      for (const payer of [operator, tenantOf({ tokensPerSecond: 5 })])
        await inference.check(payer, oneToken('sentiment'), inTime())
      assert.deepEqual(inference.statuses(operator), [])
    })
  })
