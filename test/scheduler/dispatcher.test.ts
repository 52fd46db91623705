import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { EngineRow } from '../../src/engine/engine.js'
import { Problem } from '../../src/problem.js'
import { oneToken } from '../../src/scheduler/admission.js'
import { FeedbackByTenant } from '../../src/scheduler/feedback.js'
import {
  arrivals,
  batchMs,
  flood,
  LateClock,
  type Outcome,
  poisson,
  rowOf,
  type Simulation,
  simulate,
} from './simulation.js'

const lengths = (rows: readonly { inputIds: ArrayLike<number> }[]) => rows.map(({ inputIds }) => inputIds.length)
const ms = ({ endedAt, arrivedAt }: Outcome) => endedAt - arrivedAt
const share = (outcomes: readonly Outcome[], is: (outcome: Outcome) => boolean) =>
  outcomes.filter(is).length / outcomes.length

describe('the dispatcher', () => {
  test('returns results in the order of the request, over several batches', async () => {
    const { send, clock, batches, dispatcher } = simulate({ maxTokens: 40 })
    const outcome = send({ tokens: [10, 11, 9, 12, 8, 13] })
    await clock.run()
    assert.equal((await outcome).end, 'completed')
    assert.deepEqual(batches.flatMap(({ rows }) => lengths(rows)).toSorted(), [10, 11, 12, 13, 8, 9])
    assert.ok(batches.length > 1 && dispatcher.idle)
  })

  test('puts requests that arrive together into one batch, also of different tasks', async () => {
    const { send, clock, batches } = simulate()
    const results = [send({ task: 'a' }), send({ task: 'b' }), send({ task: 'b', tenant: 'other' })]
    await clock.run()
    await Promise.all(results)
    assert.deepEqual(
      batches.map(({ rows }) => rows.length),
      [3],
    )
  })

  test('sends the second batch shortly before the first one ends, so that late arrivals can join it', async () => {
    const { send, clock, batches } = simulate()
    const first = batchMs(100)
    void send({ tokens: [25, 25, 25, 25] })
    await clock.run(1)
    void send({ task: 'early' })
    await clock.run(first / 2)
    void send({ task: 'late' })
    await clock.run()
    assert.deepEqual(
      batches.map(({ rows }) => rows.map(({ maskKey }) => maskKey)),
      [
        ['a', 'a', 'a', 'a'],
        ['early', 'late'],
      ],
    )
    const [, second] = batches
    assert.ok(second && second.at > first / 2 && second.at < first, 'it is not ready when the first one ends')
  })

  test('keeps the engine busy while rows wait', async () => {
    const simulation = simulate({ pace: (batch) => 0.6 + 0.2 * (batch % 5) })
    flood(simulation, 40, { tokens: [25] }, 5_000)
    await simulation.clock.run(5_000)
    const tokens = simulation.batches.reduce((sum, { rows }) => sum + lengths(rows).reduce((a, b) => a + b, 0), 0)
    assert.ok(tokens > 0.97 * ((5_000 / batchMs(125)) * 125), `${tokens} tokens`)
  })

  test('removes the rows of a client that disconnected', async () => {
    const { send, clock, batches, dispatcher } = simulate()
    const controller = new AbortController()
    void send({})
    await clock.run(1)
    const cancelled = send({ task: 'cancelled', signal: controller.signal })
    controller.abort()
    assert.equal((await cancelled).end, 'client_closed_request')
    assert.equal(dispatcher.queuedRows, 0)
    const aborted = send({ task: 'aborted', signal: AbortSignal.abort() })
    await clock.run()
    assert.equal((await aborted).end, 'client_closed_request')
    assert.equal(batches.length, 1)
  })

  test('computes no further rows of a failed request, and fails only the requests of that batch', async () => {
    const { send, clock, batches } = simulate({
      maxTokens: 10,
      fails: (rows) => rows.some((r) => r.maskKey === 'bad'),
    })
    const bad = send({ task: 'bad', tokens: [10, 10, 10] })
    const good = send({ task: 'good', tokens: [10] })
    await clock.run()
    assert.deepEqual([(await bad).end, (await good).end], ['the engine failed', 'completed'])
    assert.equal(batches.filter(({ rows }) => rows[0]?.maskKey === 'bad').length, 1)
  })
})

describe('several engines', () => {
  test('share the work', async () => {
    const simulation = simulate({ engines: 2 })
    flood(simulation, 40, { tokens: [25] }, 3_000)
    await simulation.clock.run()
    const counts = [0, 1].map((engine) => simulation.batches.filter((batch) => batch.engine === engine).length)
    assert.ok(Math.min(...counts) > 0.45 * simulation.batches.length, counts.join(' and '))
    assert.ok(simulation.batches.length > 1.9 * (3_000 / batchMs(125)))
  })

  test('keep serving while one engine is lost with every batch, which does not get all rows', async () => {
    const simulation = simulate({ engines: 2, loses: (engine) => engine === 0 })
    flood(simulation, 40, { tokens: [25] }, 5_000)
    await simulation.clock.run()
    const failed = simulation.outcomes.filter(({ end }) => end === 'engine_lost').length
    const completed = simulation.outcomes.filter(({ end }) => end === 'completed').length
    assert.ok(failed > 0 && completed > 10 * failed, `${completed} completed, ${failed} failed`)
  })

  test('are used again once they work', async () => {
    let broken = true
    const simulation = simulate({ engines: 2, loses: (engine) => engine === 0 && broken })
    flood(simulation, 40, { tokens: [25] }, 20_000)
    await simulation.clock.run(5_000)
    broken = false
    await simulation.clock.run(15_000)
    assert.ok(simulation.batches.some(({ engine, at }) => engine === 0 && at > 14_000))
  })
})

describe('while a tenant floods', () => {
  test('a quiet task waits for the running batch, not for the flood', async () => {
    const simulation = simulate()
    flood(simulation, 200, { task: 'flood', tokens: [25] }, 10_000)
    flood(simulation, 1, { task: 'quiet', tokens: [25] }, 10_000)
    await simulation.clock.run()
    const of = (task: string) => simulation.outcomes.filter(({ request }) => request.task === task)
    const longest = Math.max(...of('quiet').map(ms))
    // The rest of one batch, and at worst one more batch that was sent just before.
    assert.ok(longest <= 1.25 * batchMs(125) + batchMs(25) + 1, `${longest} ms`)
    // The queue is work-conserving: the flood gets the rest.
    const servedMs = simulation.batches.reduce(
      (sum, { rows }) => sum + batchMs(lengths(rows).reduce((a, b) => a + b, 0)),
      0,
    )
    assert.ok(servedMs > 0.98 * 10_000, `${servedMs} ms of 10,000`)
    assert.ok(of('flood').length > 0.75 * of('quiet').length * 5)
  })

  test('a quiet tenant is not delayed by a tenant with a thousand tasks', async () => {
    const simulation = simulate()
    const { clock, send } = simulation
    for (let task = 0; task < 1_000; task++) void send({ tenant: 'many', task: `t${task}`, tokens: [25, 25] })
    await clock.run(500)
    const quiet = send({ tenant: 'quiet', tokens: [25] })
    await clock.run()
    assert.ok(ms(await quiet) <= 1.25 * batchMs(125) + batchMs(25) + 1)
  })

  test('a quiet task finds room in a queue that a flood has filled', async () => {
    const simulation = simulate({ maxQueueRows: 300 })
    const { clock, send, outcomes } = simulation
    for (let request = 0; request < 300; request++) void send({ task: 'flood' })
    await clock.run(0)
    assert.equal(simulation.dispatcher.queuedRows + (simulation.batches[0]?.rows.length ?? 0), 100)
    assert.equal(outcomes.filter(({ end }) => end === 'overloaded').length, 200)
    const quiet = send({ task: 'quiet' })
    const other = send({ tenant: 'other', task: 'flood' })
    await clock.run()
    assert.deepEqual([(await quiet).end, (await other).end], ['completed', 'completed'])
  })
})

describe('admission', () => {
  test('admits requests that can meet their deadline and rejects the rest, and few admitted requests are late', async () => {
    // Four times the capacity of the engine, batches of uneven pace, and waits of at least half the deadline.
    const simulation = simulate({ pace: (batch) => [0.8, 1, 1.3, 0.9][batch % 4] ?? 1 })
    const capacity = 125 / batchMs(125) / 25
    arrivals(simulation, poisson(4 * capacity, 20_000, 11), () => ({ timeoutMs: 1_000 }))
    await simulation.clock.run()
    const { outcomes } = simulation
    const admitted = outcomes.filter(({ end }) => end !== 'overloaded')
    assert.ok(share(admitted, ({ inTime }) => inTime) > 0.97, `${share(admitted, ({ inTime }) => inTime)}`)
    const goodput = outcomes.filter(({ inTime }) => inTime).length / (20_000 * capacity)
    assert.ok(goodput > 0.95, `goodput ${goodput}`)
  })

  test('rejects only requests that would have been late', async () => {
    // With a single task, requests are served in order of arrival, so the expected times follow without the scheduler.
    const simulation = simulate()
    const { clock, send } = simulation
    const timeoutMs = 1_000
    const outcomes: Promise<Outcome>[] = []
    for (let request = 0; request < 400; request++) outcomes.push(send({ tokens: [32], timeoutMs }))
    await clock.run()
    const wouldEnd = (request: number) => Math.ceil((request + 1) / 4) * batchMs(128)
    const wrong = (await Promise.all(outcomes)).filter(({ end }, request) => {
      const late = wouldEnd(request) > timeoutMs
      return (end === 'overloaded') !== late && Math.abs(wouldEnd(request) - timeoutMs) > batchMs(128)
    })
    assert.equal(wrong.length, 0)
    assert.ok((await Promise.all(outcomes)).some(({ end }) => end === 'overloaded'))
  })

  test('does not reject a quiet task because of the backlog of a flood', async () => {
    const simulation = simulate()
    for (let request = 0; request < 1_000; request++) void simulation.send({ task: 'flood', timeoutMs: 1_000 })
    const quiet = simulation.send({ task: 'quiet', timeoutMs: 200 })
    const flooding = simulation.send({ task: 'flood', timeoutMs: 1_000 })
    await simulation.clock.run()
    assert.deepEqual([(await quiet).inTime, (await flooding).end], [true, 'overloaded'])
  })

  test('reserves time for the largest batch that the waiting tasks can fill, and for no larger one', async () => {
    // A batch of 4,000 tokens takes a second. One task fills 128 tokens.
    const simulation = simulate({ maxTokens: 4_000, taskTokens: 128 })
    for (let request = 0; request < 1_000; request++) void simulation.send({ task: 'flood', tenant: 'other' })
    await simulation.clock.run(1)
    const quiet = simulation.send({ timeoutMs: 200 })
    await simulation.clock.run()
    assert.ok((await quiet).inTime)
  })

  test('learns what an estimate cannot know: rows that arrive later and are served first', async () => {
    // A tenant of weight 3 sends half of the capacity. The other tenant floods, and each of its rows is overtaken.
    const simulation = simulate()
    const capacity = 125 / batchMs(125) / 25
    arrivals(simulation, poisson(capacity / 2, 30_000, 5), () => ({ tenant: 'paying', weight: 3, timeoutMs: 2_000 }))
    arrivals(simulation, poisson(3 * capacity, 30_000, 6), () => ({ tenant: 'free', timeoutMs: 2_000 }))
    await simulation.clock.run()
    const settled = simulation.outcomes.filter(({ arrivedAt }) => arrivedAt > 10_000)
    const of = (tenant: string) =>
      settled.filter(({ request, end }) => request.tenant === tenant && end !== 'overloaded')
    assert.ok(share(of('free'), ({ inTime }) => inTime) > 0.9, `${share(of('free'), ({ inTime }) => inTime)} free`)
    assert.equal(
      share(
        settled.filter(({ request }) => request.tenant === 'paying'),
        ({ inTime }) => inTime,
      ),
      1,
    )
  })

  test('reports the estimated time and when to try again', async () => {
    const { dispatcher, send, clock } = simulate()
    const timeoutMs = 10_000
    for (let request = 0; request < 1_000; request++) void send({ timeoutMs })
    await clock.run(0)
    const caller = { tenant: '', weight: 1, deadline: clock.now() + timeoutMs }
    assert.doesNotThrow(() => dispatcher.check(caller, oneToken('a')))
    for (let batch = 0; batch < 100; batch++) dispatcher.cost.observe({ tokens: 125, ms: 2 * batchMs(125) })
    assert.throws(
      () => dispatcher.check(caller, oneToken('a')),
      ({ code, details, message }: { code: string; message: string; details: Record<string, number> }) => {
        // 200 batches of 5 rows, on a machine that runs at half its former speed.
        const expected = 200 * 2 * batchMs(125)
        assert.equal(code, 'overloaded')
        assert.ok(Math.abs((details.estimated_ms ?? 0) - expected) < 0.05 * expected, message)
        assert.equal(details.retry_after_s, Math.ceil(((details.estimated_ms ?? 0) - timeoutMs) / 1_000))
        return true
      },
    )
    await clock.run()
  })

  test('admits every request that an idle engine can serve in time, also after an overload', async () => {
    const { send, clock } = simulate()
    for (let request = 0; request < 2_000; request++) void send({ timeoutMs: 500 })
    await clock.run()
    const tight = send({ timeoutMs: batchMs(25) + 1 })
    await clock.run()
    assert.ok((await tight).inTime)
  })

  test('reports deadline_exceeded for a request that would be late even without load', async () => {
    const { send, clock, batches } = simulate()
    void send({})
    await clock.run(1)
    assert.equal((await send({ tokens: [500], timeoutMs: 100 })).end, 'deadline_exceeded')
    assert.equal(batches.length, 1)
    await clock.run()
  })

  test('corrects a cost model that was measured far too slow, with requests to an idle engine', async () => {
    const simulation = simulate({ pace: () => 0.02 })
    const timeoutMs = 2 * batchMs(25)
    for (let request = 0; request < 40; request++) {
      const outcome = simulation.send({ tokens: new Array<number>(40).fill(25), timeoutMs })
      await simulation.clock.run()
      if (request > 20) assert.ok((await outcome).inTime)
    }
  })

  test('drops admitted requests whose deadline passes, before they run', async () => {
    // The second batch takes ten times as long as the first.
    const { send, clock, batches, outcomes } = simulate({ pace: (batch) => (batch === 1 ? 10 : 1) })
    for (let request = 0; request < 50; request++) void send({ timeoutMs: 400 })
    await clock.run()
    assert.ok(outcomes.some(({ end }) => end === 'deadline_exceeded'))
    const computed = batches.reduce((sum, { rows }) => sum + rows.length, 0)
    assert.equal(computed, outcomes.filter(({ end }) => end === 'completed').length)
  })

  test('never rejects a request with a far deadline', async () => {
    const { send, clock, outcomes } = simulate()
    for (let request = 0; request < 500; request++) void send({ timeoutMs: Number.POSITIVE_INFINITY })
    await clock.run()
    assert.equal(
      share(outcomes, ({ end }) => end === 'completed'),
      1,
    )
  })
})

describe('the feedback of one tenant', () => {
  /** The details of the rejection of a request that would have to wait. */
  const rejectionOf = ({ dispatcher, clock }: Simulation, tenant: string, timeoutMs: number) => {
    try {
      dispatcher.check({ tenant, weight: 1, deadline: clock.now() + timeoutMs }, oneToken('a'))
    } catch (error) {
      if (error instanceof Problem) return error.details
    }
    return assert.fail('it was admitted')
  }
  const rowsWait = async (simulation: Simulation) => {
    for (let request = 0; request < 1_000; request++) void simulation.send({ tenant: 'other', task: `t${request % 9}` })
    await simulation.clock.run(simulation.clock.now() + 1)
  }

  test('does not change the estimates of another tenant', async () => {
    // Rows of the paying tenant overtake those of the free tenant, which learns that its estimates are too low.
    const simulation = simulate()
    const capacity = 125 / batchMs(125) / 25
    arrivals(simulation, poisson(capacity / 2, 20_000, 5), () => ({ tenant: 'paying', weight: 3, timeoutMs: 2_000 }))
    arrivals(simulation, poisson(3 * capacity, 20_000, 6), () => ({ tenant: 'free', timeoutMs: 2_000 }))
    await simulation.clock.run()
    // Wait until these tenants no longer count as active: batches are shorter while several are.
    await simulation.clock.run(simulation.clock.now() + 10_000)
    await rowsWait(simulation)
    const fresh = simulate()
    await rowsWait(fresh)
    const expected = rejectionOf(fresh, 'quiet', 10).estimated_ms
    assert.equal(rejectionOf(simulation, 'quiet', 10).estimated_ms, expected)
    assert.ok(Number(rejectionOf(simulation, 'free', 10).estimated_ms) > Number(expected))
    await Promise.all([simulation.clock.run(), fresh.clock.run()])
  })

  test('includes event-loop lag only from its own rows', async () => {
    const late = new LateClock()
    const simulation = simulate({}, late)
    for (let request = 0; request < 20; request++) {
      late.ms = request % 2 === 0 ? 0 : 50
      await Promise.all([simulation.send({ tenant: 'late' }), late.run()])
    }
    late.ms = 0
    await rowsWait(simulation)
    const estimates = ['late', 'quiet'].map((tenant) => Number(rejectionOf(simulation, tenant, 10).estimated_ms))
    assert.ok((estimates[0] ?? 0) > (estimates[1] ?? 0) + 25, estimates.join(' and '))
    await late.run()
  })

  test('is all that a rejection for lack of room reports', async () => {
    for (const others of [100, 200]) {
      const simulation = simulate({ maxQueueRows: 300 })
      for (let request = 0; request < others; request++) void simulation.send({ tenant: `o${request % 50}` })
      for (let request = 0; request < 40; request++) void simulation.send({ tenant: 'own', timeoutMs: 1e6 })
      await simulation.clock.run(0)
      const [rejected] = await Promise.allSettled([
        simulation.dispatcher.submit(
          Array.from({ length: 290 }, () => ({ task: 'a', row: rowOf('a', 25) })),
          { tenant: 'own', weight: 1, deadline: 1e6 },
        ),
      ])
      const { code, details } = (rejected as PromiseRejectedResult).reason as Problem
      assert.equal(code, 'overloaded')
      const own = details.waiting_rows as number
      assert.ok(own <= 40 && own > 30, `${own} rows`)
      // Half of its own rows, at the share of one of 51 tenants.
      const expected = Math.ceil((Math.ceil((own * 25) / 128) * batchMs(128) * 51) / 2 / 1_000)
      assert.ok(Math.abs(Number(details.retry_after_s) - expected) <= 1, `${details.retry_after_s} s, not ${expected}`)
      await simulation.clock.run()
    }
  })

  test('is kept for thousands of tenants, but not for all', () => {
    const feedback = new FeedbackByTenant()
    const [first, second] = [feedback.of('first'), feedback.of('second')]
    for (let tenant = 0; tenant < 10_000; tenant++) {
      feedback.of(`t${tenant}`)
      assert.equal(feedback.of('second'), second)
    }
    assert.notEqual(feedback.of('first'), first)
  })
})

describe('the charge of a request', () => {
  test('is made once, after admission and before any row waits', async () => {
    const { send, clock, dispatcher } = simulate()
    const waiting: number[] = []
    const outcome = send({ tokens: [25, 25], onAdmitted: () => waiting.push(dispatcher.queuedRows) })
    assert.deepEqual([waiting, dispatcher.queuedRows], [[0], 2])
    await clock.run()
    assert.deepEqual([(await outcome).end, waiting], ['completed', [0]])
  })

  test('is not made if the request is rejected or its client has disconnected', async () => {
    const { send, clock, dispatcher } = simulate({ maxQueueRows: 300 })
    let charged = 0
    const onAdmitted = () => charged++
    for (let request = 0; request < 100; request++) void send({ timeoutMs: 1e6 })
    await clock.run(1)
    const ends = await Promise.all([
      send({ onAdmitted, tokens: new Array<number>(200).fill(25) }),
      send({ onAdmitted, tokens: [25, 25, 25, 25], timeoutMs: 60 }),
      send({ onAdmitted, tokens: [500], timeoutMs: 100 }),
      send({ onAdmitted, signal: AbortSignal.abort() }),
    ])
    assert.deepEqual(
      ends.map(({ end }) => end),
      ['overloaded', 'overloaded', 'deadline_exceeded', 'client_closed_request'],
    )
    dispatcher.check({ tenant: '', weight: 1, deadline: 1e6 }, oneToken('a'))
    assert.equal(charged, 0)
    await clock.run()
  })

  test('may reject the request, and then no row waits', async () => {
    const { send, dispatcher, batches, clock } = simulate()
    const rejected = await send({
      onAdmitted: () => {
        throw new Problem('rate_limited', 'too fast')
      },
    })
    await clock.run()
    assert.deepEqual([rejected.end, dispatcher.queuedRows, batches.length], ['rate_limited', 0, 0])
  })

  test('is at least its tokens, also if the given cost is not a number', async () => {
    for (const cost of [Number.NaN, Number.POSITIVE_INFINITY, -1_000, 0.5]) {
      const simulation = simulate()
      flood(simulation, 20, { task: 'odd', cost }, 5_000)
      flood(simulation, 20, { task: 'plain' }, 5_000)
      await simulation.clock.run()
      const of = (task: string) => simulation.outcomes.filter(({ request }) => request.task === task).length
      assert.ok(Math.abs(of('plain') / of('odd') - 1) < 0.1, `${of('plain')} : ${of('odd')} at ${cost}`)
    }
  })

  test('decides turns: a task that costs four times as much gets a quarter of the tokens', async () => {
    const simulation = simulate()
    flood(simulation, 40, { task: 'costly', cost: 100 }, 20_000)
    flood(simulation, 40, { task: 'plain' }, 20_000)
    await simulation.clock.run()
    const of = (task: string) => simulation.outcomes.filter(({ request }) => request.task === task).length
    assert.ok(Math.abs(of('plain') / of('costly') - 4) < 0.4, `${of('plain')} : ${of('costly')}`)
  })
})

describe('a row that cannot be computed', () => {
  const isBad = (task: string) => task.startsWith('bad')
  const fails = (rows: readonly EngineRow[]) => rows.some(({ maskKey }) => isBad(maskKey))

  test('fails alone: every other row of its batch is computed, in at most two runs per row', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }), async (bad) => {
        const { send, clock, batches, dispatcher } = simulate({ fails, maxTokens: 10_000 })
        const outcomes = bad.map((is, index) => send({ task: `${is ? 'bad' : 'good'} ${index}`, tokens: [10] }))
        await clock.run()
        assert.deepEqual(
          (await Promise.all(outcomes)).map(({ end }) => end),
          bad.map((is) => (is ? 'the engine failed' : 'completed')),
        )
        assert.ok(batches[0]?.rows.length === bad.length && batches.length < 2 * bad.length)
        assert.ok(dispatcher.idle)
      }),
      { numRuns: 50 },
    )
  })

  test('does not delay other requests while it is searched for', async () => {
    const { send, clock, batches } = simulate({ fails, maxTokens: 4_000 })
    const rows = Array.from({ length: 64 }, (_, index) => send({ task: index === 40 ? 'bad' : `t${index}` }))
    await clock.run(10)
    const quiet = send({ task: 'quiet' })
    await clock.run()
    await Promise.all(rows)
    const last = Math.max(...(await Promise.all(rows)).map(({ endedAt }) => endedAt))
    assert.ok((await quiet).endedAt < last / 2, `${(await quiet).endedAt} of ${last} ms`)
    assert.ok(batches.length > 5)
  })

  test('does not count against the engine, however many there are', async () => {
    const { send, clock, batches } = simulate({ fails })
    for (let request = 0; request < 100; request++) {
      const bad = send({ task: 'bad' })
      await clock.run()
      assert.equal((await bad).end, 'the engine failed')
    }
    const runs = batches.length
    const good = send({ task: 'good' })
    await clock.run()
    assert.equal(runs, 100)
    assert.ok(ms(await good) <= batchMs(25))
  })

  test('fails its request, whose other rows do not run again', async () => {
    const { send, clock, batches } = simulate({ fails: (rows) => rows[0]?.inputIds.length === 11, maxTokens: 10_000 })
    const request = send({ tokens: [11, 10, 10, 10, 10, 10, 10, 10] })
    await clock.run()
    assert.equal((await request).end, 'the engine failed')
    assert.deepEqual(
      batches.map(({ rows }) => rows.length),
      [8, 4, 2, 1],
    )
  })

  test('is not searched for if the engine is lost', async () => {
    const { send, clock, batches } = simulate({ loses: () => true })
    const rows = Array.from({ length: 5 }, () => send({}))
    await clock.run()
    assert.deepEqual(
      (await Promise.all(rows)).map(({ end }) => end),
      new Array<string>(5).fill('engine_lost'),
    )
    assert.equal(batches.length, 1)
  })

  test('is dropped once its deadline has passed', async () => {
    const { send, clock, batches } = simulate({ fails, maxTokens: 800, pace: () => 4 })
    const good = Array.from({ length: 30 }, (_, index) => send({ task: `t${index}`, timeoutMs: 450 }))
    const bad = send({ task: 'bad', timeoutMs: 450 })
    await clock.run()
    const ends = (await Promise.all([...good, bad])).map(({ end }) => end)
    assert.ok(ends.includes('deadline_exceeded') && ends.includes('completed'), ends.join())
    assert.ok(batches.every(({ at }) => at < 450))
  })
})

describe('a text with which engines are lost', () => {
  const isBad = (row: EngineRow) => row.inputIds.length === 13
  const loses = (_: number, rows: readonly EngineRow[]) => rows.some(isBad)

  test('costs two engines, the second one alone, and is then rejected, while other texts of its batch are computed', async () => {
    const { send, clock, batches } = simulate({ loses })
    const round = async () => {
      const outcomes = [10, 11, 12, 13, 14].map((length) => send({ tokens: [length] }))
      await clock.run()
      return (await Promise.all(outcomes)).map(({ end }) => end)
    }
    assert.deepEqual(await round(), new Array<string>(5).fill('engine_lost'))
    assert.deepEqual(await round(), ['completed', 'completed', 'completed', 'engine_lost', 'completed'])
    for (let again = 0; again < 3; again++)
      assert.deepEqual(await round(), ['completed', 'completed', 'completed', 'text_fails_engines', 'completed'])
    const lost = batches.filter(({ rows }) => rows.some(isBad))
    assert.deepEqual(
      lost.map(({ rows }) => rows.length),
      [5, 1],
    )
  })

  test('is rejected also if it waits already, and is remembered for a limited time', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const now = t.mock.method(performance, 'now')
    const start = performance.now()
    const { send, clock, batches } = simulate({ loses, maxTokens: 13 })
    const outcomes = Array.from({ length: 6 }, () => send({ tokens: [13] }))
    await clock.run()
    const ends = (await Promise.all(outcomes)).map(({ end }) => end)
    assert.deepEqual(ends.toSorted(), [
      'engine_lost',
      'engine_lost',
      ...new Array<string>(4).fill('text_fails_engines'),
    ])
    assert.equal(batches.length, 2)
    now.mock.mockImplementation(() => start + 3_600_000)
    t.mock.timers.tick(3_600_000)
    const later = send({ tokens: [13] })
    await clock.run()
    assert.equal((await later).end, 'engine_lost')
  })

  test('is cleared by a result', async () => {
    let broken = true
    const { send, clock } = simulate({ loses: () => broken })
    const one = async () => {
      const outcome = send({})
      await clock.run()
      return (await outcome).end
    }
    for (let round = 0; round < 4; round++) {
      broken = true
      assert.equal(await one(), 'engine_lost')
      broken = false
      assert.equal(await one(), 'completed')
    }
  })
})

describe('a process that was paused for a minute', () => {
  test('computes its waiting requests and rejects nothing because of the pause', async () => {
    const { send, clock } = simulate()
    const early = Array.from({ length: 40 }, () => send({ timeoutMs: 600_000 }))
    await clock.run(1)
    clock.pause(60_000)
    await clock.run()
    const later = Array.from({ length: 40 }, () => send({ timeoutMs: 2.5 * 8 * batchMs(125) }))
    await clock.run()
    for (const { end } of await Promise.all([...early, ...later])) assert.equal(end, 'completed')
  })

  test('reports the pause to requests that have become late', async () => {
    const { clock, dispatcher } = simulate()
    const caller = { tenant: '', weight: 1, deadline: 30_000 }
    const running = dispatcher.submit([{ task: 'a', row: rowOf('a', 100) }], { ...caller, deadline: 600_000 })
    await clock.run(1)
    const late = dispatcher.submit([{ task: 'a', row: rowOf('a', 100) }], caller)
    const rejection = assert.rejects(late, {
      code: 'deadline_exceeded',
      message:
        /^the request waited \d+ ms \(the server was paused for 60000 ms of it\), and its deadline passed before it ran$/,
    })
    clock.pause(60_000)
    await clock.run()
    await Promise.all([running, rejection])
  })
})

describe('while no engine is available', () => {
  test('rows wait, and are computed once an engine is available', async () => {
    const { send, clock, batches, runners } = simulate()
    const [runner] = runners
    assert.ok(runner)
    runner.available = false
    const early = send({ timeoutMs: 5_000 })
    await clock.run(2_000)
    assert.equal(batches.length, 0)
    runner.available = true
    runner.onAvailable?.()
    await clock.run()
    assert.deepEqual([(await early).end, (await early).endedAt], ['completed', 2_000 + batchMs(25)])
  })

  test('each request fails with engine_lost by its deadline', async () => {
    const { send, clock, batches, runners, dispatcher } = simulate({ engines: 2 })
    for (const runner of runners) runner.available = false
    const outcomes = [3_000, 1_000, 2_000].map((timeoutMs) => send({ timeoutMs }))
    await clock.run()
    assert.deepEqual(
      (await Promise.all(outcomes)).map(({ end, endedAt }) => [end, endedAt]),
      [3_000, 1_000, 2_000].map((timeoutMs) => ['engine_lost', timeoutMs]),
    )
    assert.ok(dispatcher.idle && batches.length === 0)
  })

  test('another engine takes all waiting rows', async () => {
    const simulation = simulate({ engines: 2 })
    const [first] = simulation.runners
    assert.ok(first)
    first.available = false
    flood(simulation, 10, {}, 1_000)
    await simulation.clock.run()
    assert.ok(simulation.outcomes.every(({ end }) => end === 'completed'))
    assert.ok(simulation.batches.every(({ engine }) => engine === 1))
  })
})

test('an engine that hangs does not keep rows in the queue beyond their deadlines', async () => {
  const { send, clock, batches } = simulate({ pace: () => 1e6 })
  const runs = send({})
  await clock.run(1)
  const ready = send({})
  await clock.run(100)
  const outcomes = [1_000, 500].map((timeoutMs) => send({ timeoutMs, task: 'waits' }))
  await clock.run(2_000)
  assert.deepEqual(
    (await Promise.all(outcomes)).map(({ end, endedAt }) => [end, endedAt]),
    [1_000, 500].map((timeoutMs) => ['deadline_exceeded', 100 + timeoutMs]),
  )
  await clock.run()
  await Promise.all([runs, ready])
  assert.equal(batches.length, 2)
})
