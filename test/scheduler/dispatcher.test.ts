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
const ms = ({ endedAt, cameAt }: Outcome) => endedAt - cameAt
const share = (outcomes: readonly Outcome[], is: (outcome: Outcome) => boolean) =>
  outcomes.filter(is).length / outcomes.length

describe('the dispatcher', () => {
  test('answers in the order of the request, over however many batches', async () => {
    const { ask, clock, batches, dispatcher } = simulate({ maxTokens: 40 })
    const answer = ask({ tokens: [10, 11, 9, 12, 8, 13] })
    await clock.run()
    assert.equal((await answer).end, 'answered')
    assert.deepEqual(batches.flatMap(({ rows }) => lengths(rows)).toSorted(), [10, 11, 12, 13, 8, 9])
    assert.ok(batches.length > 1 && dispatcher.idle)
  })

  test('puts requests that arrive together into one batch, of different tasks too', async () => {
    const { ask, clock, batches } = simulate()
    const answers = [ask({ task: 'a' }), ask({ task: 'b' }), ask({ task: 'b', tenant: 'other' })]
    await clock.run()
    await Promise.all(answers)
    assert.deepEqual(
      batches.map(({ rows }) => rows.length),
      [3],
    )
  })

  test('hands the second batch over shortly before the first one ends: what comes until then is in it', async () => {
    const { ask, clock, batches } = simulate()
    const first = batchMs(100)
    void ask({ tokens: [25, 25, 25, 25] })
    await clock.run(1)
    void ask({ task: 'early' })
    await clock.run(first / 2)
    void ask({ task: 'late' })
    await clock.run()
    assert.deepEqual(
      batches.map(({ rows }) => rows.map(({ maskKey }) => maskKey)),
      [
        ['a', 'a', 'a', 'a'],
        ['early', 'late'],
      ],
    )
    const [, second] = batches
    assert.ok(second && second.at > first / 2 && second.at < first, 'it is ready when the first one ends')
  })

  test('keeps the engine busy as long as something waits', async () => {
    const simulation = simulate({ pace: (batch) => 0.6 + 0.2 * (batch % 5) })
    flood(simulation, 40, { tokens: [25] }, 5_000)
    await simulation.clock.run(5_000)
    const tokens = simulation.batches.reduce((sum, { rows }) => sum + lengths(rows).reduce((a, b) => a + b, 0), 0)
    assert.ok(tokens > 0.97 * ((5_000 / batchMs(125)) * 125), `${tokens} tokens`)
  })

  test('takes rows out whose client left', async () => {
    const { ask, clock, batches, dispatcher } = simulate()
    const controller = new AbortController()
    void ask({})
    await clock.run(1)
    const left = ask({ task: 'left', signal: controller.signal })
    controller.abort()
    assert.equal((await left).end, 'client_closed_request')
    assert.equal(dispatcher.queuedRows, 0)
    const gone = ask({ task: 'gone', signal: AbortSignal.abort() })
    await clock.run()
    assert.equal((await gone).end, 'client_closed_request')
    assert.equal(batches.length, 1)
  })

  test('computes no further row of a request that has failed, and fails only the requests of that batch', async () => {
    const { ask, clock, batches } = simulate({
      maxTokens: 10,
      fails: (rows) => rows.some((r) => r.maskKey === 'bad'),
    })
    const bad = ask({ task: 'bad', tokens: [10, 10, 10] })
    const good = ask({ task: 'good', tokens: [10] })
    await clock.run()
    assert.deepEqual([(await bad).end, (await good).end], ['the engine failed', 'answered'])
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

  test('go on beside one that is lost with every batch: it does not take all that waits', async () => {
    const simulation = simulate({ engines: 2, loses: (engine) => engine === 0 })
    flood(simulation, 40, { tokens: [25] }, 5_000)
    await simulation.clock.run()
    const failed = simulation.outcomes.filter(({ end }) => end === 'engine_lost').length
    const answered = simulation.outcomes.filter(({ end }) => end === 'answered').length
    assert.ok(failed > 0 && answered > 10 * failed, `${answered} answered, ${failed} failed`)
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

describe('beside a flood', () => {
  test('a quiet task waits for the batch that runs, and not for the flood', async () => {
    const simulation = simulate()
    flood(simulation, 200, { task: 'flood', tokens: [25] }, 10_000)
    flood(simulation, 1, { task: 'quiet', tokens: [25] }, 10_000)
    await simulation.clock.run()
    const of = (task: string) => simulation.outcomes.filter(({ ask }) => ask.task === task)
    const longest = Math.max(...of('quiet').map(ms))
    // The rest of one batch, and at worst one more that was handed over just before.
    assert.ok(longest <= 1.25 * batchMs(125) + batchMs(25) + 1, `${longest} ms`)
    // Work conserving: the flood has the rest.
    const servedMs = simulation.batches.reduce(
      (sum, { rows }) => sum + batchMs(lengths(rows).reduce((a, b) => a + b, 0)),
      0,
    )
    assert.ok(servedMs > 0.98 * 10_000, `${servedMs} ms of 10,000`)
    assert.ok(of('flood').length > 0.75 * of('quiet').length * 5)
  })

  test('a quiet tenant is not held up by another with a thousand tasks', async () => {
    const simulation = simulate()
    const { clock, ask } = simulation
    for (let task = 0; task < 1_000; task++) void ask({ tenant: 'many', task: `t${task}`, tokens: [25, 25] })
    await clock.run(500)
    const quiet = ask({ tenant: 'quiet', tokens: [25] })
    await clock.run()
    assert.ok(ms(await quiet) <= 1.25 * batchMs(125) + batchMs(25) + 1)
  })

  test('a quiet task finds room in the queue that the flood has filled', async () => {
    const simulation = simulate({ maxQueueRows: 300 })
    const { clock, ask, outcomes } = simulation
    for (let request = 0; request < 300; request++) void ask({ task: 'flood' })
    await clock.run(0)
    assert.equal(simulation.dispatcher.queuedRows + (simulation.batches[0]?.rows.length ?? 0), 100)
    assert.equal(outcomes.filter(({ end }) => end === 'overloaded').length, 200)
    const quiet = ask({ task: 'quiet' })
    const other = ask({ tenant: 'other', task: 'flood' })
    await clock.run()
    assert.deepEqual([(await quiet).end, (await other).end], ['answered', 'answered'])
  })
})

describe('admission', () => {
  test('takes what can be answered in time and refuses the rest: few of the first come late', async () => {
    // Four times what the engine can serve, batches of uneven pace, and half of the deadline spent waiting at least.
    const simulation = simulate({ pace: (batch) => [0.8, 1, 1.3, 0.9][batch % 4] ?? 1 })
    const capacity = 125 / batchMs(125) / 25
    arrivals(simulation, poisson(4 * capacity, 20_000, 11), () => ({ timeoutMs: 1_000 }))
    await simulation.clock.run()
    const { outcomes } = simulation
    const taken = outcomes.filter(({ end }) => end !== 'overloaded')
    assert.ok(share(taken, ({ inTime }) => inTime) > 0.97, `${share(taken, ({ inTime }) => inTime)}`)
    const goodput = outcomes.filter(({ inTime }) => inTime).length / (20_000 * capacity)
    assert.ok(goodput > 0.95, `goodput ${goodput}`)
  })

  test('refuses only what would have come late', async () => {
    // One task, first come first served: when a request would have been answered is known without the scheduler.
    const simulation = simulate()
    const { clock, ask } = simulation
    const timeoutMs = 1_000
    const outcomes: Promise<Outcome>[] = []
    for (let request = 0; request < 400; request++) outcomes.push(ask({ tokens: [32], timeoutMs }))
    await clock.run()
    const wouldEnd = (request: number) => Math.ceil((request + 1) / 4) * batchMs(128)
    const wrong = (await Promise.all(outcomes)).filter(({ end }, request) => {
      const late = wouldEnd(request) > timeoutMs
      return (end === 'overloaded') !== late && Math.abs(wouldEnd(request) - timeoutMs) > batchMs(128)
    })
    assert.equal(wrong.length, 0)
    assert.ok((await Promise.all(outcomes)).some(({ end }) => end === 'overloaded'))
  })

  test('does not refuse a quiet task for the queue of a flood', async () => {
    const simulation = simulate()
    for (let request = 0; request < 1_000; request++) void simulation.ask({ task: 'flood', timeoutMs: 1_000 })
    const quiet = simulation.ask({ task: 'quiet', timeoutMs: 200 })
    const flooding = simulation.ask({ task: 'flood', timeoutMs: 1_000 })
    await simulation.clock.run()
    assert.deepEqual([(await quiet).inTime, (await flooding).end], [true, 'overloaded'])
  })

  test('allows for the largest batch that the tasks that wait can fill, and for no larger one', async () => {
    // A batch of 4,000 tokens takes a second; one task fills 128 of them.
    const simulation = simulate({ maxTokens: 4_000, taskTokens: 128 })
    for (let request = 0; request < 1_000; request++) void simulation.ask({ task: 'flood', tenant: 'other' })
    await simulation.clock.run(1)
    const quiet = simulation.ask({ timeoutMs: 200 })
    await simulation.clock.run()
    assert.ok((await quiet).inTime)
  })

  test('learns what an estimate cannot know: rows that come later and go first', async () => {
    // A tenant of weight 3 sends half of what can be served. The other one floods, and each of its rows is overtaken.
    const simulation = simulate()
    const capacity = 125 / batchMs(125) / 25
    arrivals(simulation, poisson(capacity / 2, 30_000, 5), () => ({ tenant: 'paying', weight: 3, timeoutMs: 2_000 }))
    arrivals(simulation, poisson(3 * capacity, 30_000, 6), () => ({ tenant: 'free', timeoutMs: 2_000 }))
    await simulation.clock.run()
    const settled = simulation.outcomes.filter(({ cameAt }) => cameAt > 10_000)
    const of = (tenant: string) => settled.filter(({ ask, end }) => ask.tenant === tenant && end !== 'overloaded')
    assert.ok(share(of('free'), ({ inTime }) => inTime) > 0.9, `${share(of('free'), ({ inTime }) => inTime)} free`)
    assert.equal(
      share(
        settled.filter(({ ask }) => ask.tenant === 'paying'),
        ({ inTime }) => inTime,
      ),
      1,
    )
  })

  test('says how long it would take and when to come back', async () => {
    const { dispatcher, ask, clock } = simulate()
    const timeoutMs = 10_000
    for (let request = 0; request < 1_000; request++) void ask({ timeoutMs })
    await clock.run(0)
    const order = { tenant: '', weight: 1, deadline: clock.now() + timeoutMs }
    assert.doesNotThrow(() => dispatcher.check(order, oneToken('a')))
    for (let batch = 0; batch < 100; batch++) dispatcher.cost.observe({ tokens: 125, ms: 2 * batchMs(125) })
    assert.throws(
      () => dispatcher.check(order, oneToken('a')),
      ({ code, details, message }: { code: string; message: string; details: Record<string, number> }) => {
        // 200 batches of 5 rows, on a machine that has become half as fast.
        const expected = 200 * 2 * batchMs(125)
        assert.equal(code, 'overloaded')
        assert.ok(Math.abs((details.estimated_ms ?? 0) - expected) < 0.05 * expected, message)
        assert.equal(details.retry_after_s, Math.ceil(((details.estimated_ms ?? 0) - timeoutMs) / 1_000))
        return true
      },
    )
    await clock.run()
  })

  test('takes whatever an idle engine can answer in time, after an overload too', async () => {
    const { ask, clock } = simulate()
    for (let request = 0; request < 2_000; request++) void ask({ timeoutMs: 500 })
    await clock.run()
    const tight = ask({ timeoutMs: batchMs(25) + 1 })
    await clock.run()
    assert.ok((await tight).inTime)
  })

  test('tells a request that takes longer than it may by itself that load is not the reason', async () => {
    const { ask, clock, batches } = simulate()
    void ask({})
    await clock.run(1)
    assert.equal((await ask({ tokens: [500], timeoutMs: 100 })).end, 'deadline_exceeded')
    assert.equal(batches.length, 1)
    await clock.run()
  })

  test('puts right by an idle engine what was measured much too slow', async () => {
    const simulation = simulate({ pace: () => 0.02 })
    const timeoutMs = 2 * batchMs(25)
    for (let request = 0; request < 40; request++) {
      const outcome = simulation.ask({ tokens: new Array<number>(40).fill(25), timeoutMs })
      await simulation.clock.run()
      if (request > 20) assert.ok((await outcome).inTime)
    }
  })

  test('drops what was taken and comes too late after all, before it costs anything', async () => {
    // The second batch takes ten times as long as any before.
    const { ask, clock, batches, outcomes } = simulate({ pace: (batch) => (batch === 1 ? 10 : 1) })
    for (let request = 0; request < 50; request++) void ask({ timeoutMs: 400 })
    await clock.run()
    assert.ok(outcomes.some(({ end }) => end === 'deadline_exceeded'))
    const computed = batches.reduce((sum, { rows }) => sum + rows.length, 0)
    assert.equal(computed, outcomes.filter(({ end }) => end === 'answered').length)
  })

  test('never refuses whoever has all the time', async () => {
    const { ask, clock, outcomes } = simulate()
    for (let request = 0; request < 500; request++) void ask({ timeoutMs: Number.POSITIVE_INFINITY })
    await clock.run()
    assert.equal(
      share(outcomes, ({ end }) => end === 'answered'),
      1,
    )
  })
})

describe('what one tenant experiences', () => {
  /** Of a request that is refused because it would have to wait. */
  const refusalOf = ({ dispatcher, clock }: Simulation, tenant: string, timeoutMs: number) => {
    try {
      dispatcher.check({ tenant, weight: 1, deadline: clock.now() + timeoutMs }, oneToken('a'))
    } catch (error) {
      if (error instanceof Problem) return error.details
    }
    return assert.fail('it was admitted')
  }
  const rowsWait = async (simulation: Simulation) => {
    for (let request = 0; request < 1_000; request++) void simulation.ask({ tenant: 'other', task: `t${request % 9}` })
    await simulation.clock.run(simulation.clock.now() + 1)
  }

  test('does not change the estimates of another', async () => {
    // Rows of the tenant that pays overtake those of the free one, which learns that its estimates are too low.
    const simulation = simulate()
    const capacity = 125 / batchMs(125) / 25
    arrivals(simulation, poisson(capacity / 2, 20_000, 5), () => ({ tenant: 'paying', weight: 3, timeoutMs: 2_000 }))
    arrivals(simulation, poisson(3 * capacity, 20_000, 6), () => ({ tenant: 'free', timeoutMs: 2_000 }))
    await simulation.clock.run()
    // Until these tenants do not count as active any more: beside others batches are shorter.
    await simulation.clock.run(simulation.clock.now() + 10_000)
    await rowsWait(simulation)
    const fresh = simulate()
    await rowsWait(fresh)
    const expected = refusalOf(fresh, 'quiet', 10).estimated_ms
    assert.equal(refusalOf(simulation, 'quiet', 10).estimated_ms, expected)
    assert.ok(Number(refusalOf(simulation, 'free', 10).estimated_ms) > Number(expected))
    await Promise.all([simulation.clock.run(), fresh.clock.run()])
  })

  test('is learned from its own rows only, when the process is late', async () => {
    const late = new LateClock()
    const simulation = simulate({}, late)
    for (let request = 0; request < 20; request++) {
      late.ms = request % 2 === 0 ? 0 : 50
      await Promise.all([simulation.ask({ tenant: 'late' }), late.run()])
    }
    late.ms = 0
    await rowsWait(simulation)
    const estimates = ['late', 'quiet'].map((tenant) => Number(refusalOf(simulation, tenant, 10).estimated_ms))
    assert.ok((estimates[0] ?? 0) > (estimates[1] ?? 0) + 25, estimates.join(' and '))
    await late.run()
  })

  test('is all that it is told of when it finds no room', async () => {
    for (const others of [100, 200]) {
      const simulation = simulate({ maxQueueRows: 300 })
      for (let request = 0; request < others; request++) void simulation.ask({ tenant: `o${request % 50}` })
      for (let request = 0; request < 40; request++) void simulation.ask({ tenant: 'own', timeoutMs: 1e6 })
      await simulation.clock.run(0)
      const [refused] = await Promise.allSettled([
        simulation.dispatcher.submit(
          Array.from({ length: 290 }, () => ({ task: 'a', row: rowOf('a', 25) })),
          { tenant: 'own', weight: 1, deadline: 1e6 },
        ),
      ])
      const { code, details } = (refused as PromiseRejectedResult).reason as Problem
      assert.equal(code, 'overloaded')
      const own = details.waiting_rows as number
      assert.ok(own <= 40 && own > 30, `${own} rows`)
      // Half of its own rows, at a share of one of 51 tenants.
      const expected = Math.ceil((Math.ceil((own * 25) / 128) * batchMs(128) * 51) / 2 / 1_000)
      assert.ok(Math.abs(Number(details.retry_after_s) - expected) <= 1, `${details.retry_after_s} s, not ${expected}`)
      await simulation.clock.run()
    }
  })

  test('is kept for thousands of tenants, and not for all', () => {
    const feedback = new FeedbackByTenant()
    const [first, second] = [feedback.of('first'), feedback.of('second')]
    for (let tenant = 0; tenant < 10_000; tenant++) {
      feedback.of(`t${tenant}`)
      assert.equal(feedback.of('second'), second)
    }
    assert.notEqual(feedback.of('first'), first)
  })
})

describe('what a request is charged for', () => {
  test('is asked once, when it is admitted and before any row waits', async () => {
    const { ask, clock, dispatcher } = simulate()
    const waiting: number[] = []
    const answer = ask({ tokens: [25, 25], onAdmitted: () => waiting.push(dispatcher.queuedRows) })
    assert.deepEqual([waiting, dispatcher.queuedRows], [[0], 2])
    await clock.run()
    assert.deepEqual([(await answer).end, waiting], ['answered', [0]])
  })

  test('is nothing if it is refused, or its client has left', async () => {
    const { ask, clock, dispatcher } = simulate({ maxQueueRows: 300 })
    let charged = 0
    const onAdmitted = () => charged++
    for (let request = 0; request < 100; request++) void ask({ timeoutMs: 1e6 })
    await clock.run(1)
    const ends = await Promise.all([
      ask({ onAdmitted, tokens: new Array<number>(200).fill(25) }),
      ask({ onAdmitted, tokens: [25, 25, 25, 25], timeoutMs: 60 }),
      ask({ onAdmitted, tokens: [500], timeoutMs: 100 }),
      ask({ onAdmitted, signal: AbortSignal.abort() }),
    ])
    assert.deepEqual(
      ends.map(({ end }) => end),
      ['overloaded', 'overloaded', 'deadline_exceeded', 'client_closed_request'],
    )
    dispatcher.check({ tenant: '', weight: 1, deadline: 1e6 }, oneToken('a'))
    assert.equal(charged, 0)
    await clock.run()
  })

  test('may be refused: then no row waits', async () => {
    const { ask, dispatcher, batches, clock } = simulate()
    const refused = await ask({
      onAdmitted: () => {
        throw new Problem('rate_limited', 'too fast')
      },
    })
    await clock.run()
    assert.deepEqual([refused.end, dispatcher.queuedRows, batches.length], ['rate_limited', 0, 0])
  })

  test('is its tokens if what is asked is less, or no number', async () => {
    for (const cost of [Number.NaN, Number.POSITIVE_INFINITY, -1_000, 0.5]) {
      const simulation = simulate()
      flood(simulation, 20, { task: 'odd', cost }, 5_000)
      flood(simulation, 20, { task: 'plain' }, 5_000)
      await simulation.clock.run()
      const of = (task: string) => simulation.outcomes.filter(({ ask }) => ask.task === task).length
      assert.ok(Math.abs(of('plain') / of('odd') - 1) < 0.1, `${of('plain')} : ${of('odd')} at ${cost}`)
    }
  })

  test('decides its turns: of two tasks the one that costs four times as much is served a quarter', async () => {
    const simulation = simulate()
    flood(simulation, 40, { task: 'dear', cost: 100 }, 20_000)
    flood(simulation, 40, { task: 'plain' }, 20_000)
    await simulation.clock.run()
    const of = (task: string) => simulation.outcomes.filter(({ ask }) => ask.task === task).length
    assert.ok(Math.abs(of('plain') / of('dear') - 4) < 0.4, `${of('plain')} : ${of('dear')}`)
  })
})

describe('a row that cannot be computed', () => {
  const isBad = (task: string) => task.startsWith('bad')
  const fails = (rows: readonly EngineRow[]) => rows.some(({ maskKey }) => isBad(maskKey))

  test('fails alone: every other row of its batch is answered, in at most two runs a row', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }), async (bad) => {
        const { ask, clock, batches, dispatcher } = simulate({ fails, maxTokens: 10_000 })
        const outcomes = bad.map((is, index) => ask({ task: `${is ? 'bad' : 'good'} ${index}`, tokens: [10] }))
        await clock.run()
        assert.deepEqual(
          (await Promise.all(outcomes)).map(({ end }) => end),
          bad.map((is) => (is ? 'the engine failed' : 'answered')),
        )
        assert.ok(batches[0]?.rows.length === bad.length && batches.length < 2 * bad.length)
        assert.ok(dispatcher.idle)
      }),
      { numRuns: 50 },
    )
  })

  test('does not hold up others while it is looked for', async () => {
    const { ask, clock, batches } = simulate({ fails, maxTokens: 4_000 })
    const rows = Array.from({ length: 64 }, (_, index) => ask({ task: index === 40 ? 'bad' : `t${index}` }))
    await clock.run(10)
    const quiet = ask({ task: 'quiet' })
    await clock.run()
    await Promise.all(rows)
    const last = Math.max(...(await Promise.all(rows)).map(({ endedAt }) => endedAt))
    assert.ok((await quiet).endedAt < last / 2, `${(await quiet).endedAt} of ${last} ms`)
    assert.ok(batches.length > 5)
  })

  test('says nothing about the engine: whoever sends many does not make it pause', async () => {
    const { ask, clock, batches } = simulate({ fails })
    for (let request = 0; request < 100; request++) {
      const bad = ask({ task: 'bad' })
      await clock.run()
      assert.equal((await bad).end, 'the engine failed')
    }
    const runs = batches.length
    const good = ask({ task: 'good' })
    await clock.run()
    assert.equal(runs, 100)
    assert.ok(ms(await good) <= batchMs(25))
  })

  test('fails its request, whose other rows are not run again', async () => {
    const { ask, clock, batches } = simulate({ fails: (rows) => rows[0]?.inputIds.length === 11, maxTokens: 10_000 })
    const request = ask({ tokens: [11, 10, 10, 10, 10, 10, 10, 10] })
    await clock.run()
    assert.equal((await request).end, 'the engine failed')
    assert.deepEqual(
      batches.map(({ rows }) => rows.length),
      [8, 4, 2, 1],
    )
  })

  test('is not looked for if the engine is lost', async () => {
    const { ask, clock, batches } = simulate({ loses: () => true })
    const rows = Array.from({ length: 5 }, () => ask({}))
    await clock.run()
    assert.deepEqual(
      (await Promise.all(rows)).map(({ end }) => end),
      new Array<string>(5).fill('engine_lost'),
    )
    assert.equal(batches.length, 1)
  })

  test('is given up once its time is over', async () => {
    const { ask, clock, batches } = simulate({ fails, maxTokens: 800, pace: () => 4 })
    const good = Array.from({ length: 30 }, (_, index) => ask({ task: `t${index}`, timeoutMs: 450 }))
    const bad = ask({ task: 'bad', timeoutMs: 450 })
    await clock.run()
    const ends = (await Promise.all([...good, bad])).map(({ end }) => end)
    assert.ok(ends.includes('deadline_exceeded') && ends.includes('answered'), ends.join())
    assert.ok(batches.every(({ at }) => at < 450))
  })
})

describe('a text that engines are lost with', () => {
  const isBad = (row: EngineRow) => row.inputIds.length === 13
  const loses = (_: number, rows: readonly EngineRow[]) => rows.some(isBad)

  test('loses two, the second one alone, and is refused; the texts that were with it are answered', async () => {
    const { ask, clock, batches } = simulate({ loses })
    const round = async () => {
      const outcomes = [10, 11, 12, 13, 14].map((length) => ask({ tokens: [length] }))
      await clock.run()
      return (await Promise.all(outcomes)).map(({ end }) => end)
    }
    assert.deepEqual(await round(), new Array<string>(5).fill('engine_lost'))
    assert.deepEqual(await round(), ['answered', 'answered', 'answered', 'engine_lost', 'answered'])
    for (let again = 0; again < 3; again++)
      assert.deepEqual(await round(), ['answered', 'answered', 'answered', 'text_fails_engines', 'answered'])
    const lost = batches.filter(({ rows }) => rows.some(isBad))
    assert.deepEqual(
      lost.map(({ rows }) => rows.length),
      [5, 1],
    )
  })

  test('is refused where it waits already, and is remembered for a while only', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const now = t.mock.method(performance, 'now')
    const start = performance.now()
    const { ask, clock, batches } = simulate({ loses, maxTokens: 13 })
    const outcomes = Array.from({ length: 6 }, () => ask({ tokens: [13] }))
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
    const later = ask({ tokens: [13] })
    await clock.run()
    assert.equal((await later).end, 'engine_lost')
  })

  test('is cleared by an answer', async () => {
    let broken = true
    const { ask, clock } = simulate({ loses: () => broken })
    const one = async () => {
      const outcome = ask({})
      await clock.run()
      return (await outcome).end
    }
    for (let round = 0; round < 4; round++) {
      broken = true
      assert.equal(await one(), 'engine_lost')
      broken = false
      assert.equal(await one(), 'answered')
    }
  })
})

describe('a process that stood still for a minute', () => {
  test('answers what it had, and refuses nothing for it afterwards', async () => {
    const { ask, clock } = simulate()
    const early = Array.from({ length: 40 }, () => ask({ timeoutMs: 600_000 }))
    await clock.run(1)
    clock.pause(60_000)
    await clock.run()
    const later = Array.from({ length: 40 }, () => ask({ timeoutMs: 2.5 * 8 * batchMs(125) }))
    await clock.run()
    for (const { end } of await Promise.all([...early, ...later])) assert.equal(end, 'answered')
  })

  test('says so to requests that have become late', async () => {
    const { clock, dispatcher } = simulate()
    const order = { tenant: '', weight: 1, deadline: 30_000 }
    const running = dispatcher.submit([{ task: 'a', row: rowOf('a', 100) }], { ...order, deadline: 600_000 })
    await clock.run(1)
    const late = dispatcher.submit([{ task: 'a', row: rowOf('a', 100) }], order)
    const refusal = assert.rejects(late, {
      code: 'deadline_exceeded',
      message: /^the request waited \d+ ms, of which the server stood still for 60000 ms, and was not begun$/,
    })
    clock.pause(60_000)
    await clock.run()
    await Promise.all([running, refusal])
  })
})

describe('while no engine is available', () => {
  test('rows wait, and are computed once one is', async () => {
    const { ask, clock, batches, runners } = simulate()
    const [runner] = runners
    assert.ok(runner)
    runner.available = false
    const early = ask({ timeoutMs: 5_000 })
    await clock.run(2_000)
    assert.equal(batches.length, 0)
    runner.available = true
    runner.onAvailable?.()
    await clock.run()
    assert.deepEqual([(await early).end, (await early).endedAt], ['answered', 2_000 + batchMs(25)])
  })

  test('each request is answered by its deadline that the engine is lost', async () => {
    const { ask, clock, batches, runners, dispatcher } = simulate({ engines: 2 })
    for (const runner of runners) runner.available = false
    const outcomes = [3_000, 1_000, 2_000].map((timeoutMs) => ask({ timeoutMs }))
    await clock.run()
    assert.deepEqual(
      (await Promise.all(outcomes)).map(({ end, endedAt }) => [end, endedAt]),
      [3_000, 1_000, 2_000].map((timeoutMs) => ['engine_lost', timeoutMs]),
    )
    assert.ok(dispatcher.idle && batches.length === 0)
  })

  test('another one takes all that waits', async () => {
    const simulation = simulate({ engines: 2 })
    const [first] = simulation.runners
    assert.ok(first)
    first.available = false
    flood(simulation, 10, {}, 1_000)
    await simulation.clock.run()
    assert.ok(simulation.outcomes.every(({ end }) => end === 'answered'))
    assert.ok(simulation.batches.every(({ engine }) => engine === 1))
  })
})

test('an engine that hangs does not keep rows in the queue beyond their deadlines', async () => {
  const { ask, clock, batches } = simulate({ pace: () => 1e6 })
  const runs = ask({})
  await clock.run(1)
  const ready = ask({})
  await clock.run(100)
  const outcomes = [1_000, 500].map((timeoutMs) => ask({ timeoutMs, task: 'waits' }))
  await clock.run(2_000)
  assert.deepEqual(
    (await Promise.all(outcomes)).map(({ end, endedAt }) => [end, endedAt]),
    [1_000, 500].map((timeoutMs) => ['deadline_exceeded', 100 + timeoutMs]),
  )
  await clock.run()
  await Promise.all([runs, ready])
  assert.equal(batches.length, 2)
})
