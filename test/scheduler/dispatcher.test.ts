import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { arrivals, batchMs, flood, type Outcome, poisson, simulate } from './simulation.js'

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
      fails: (_, rows) => rows.some((r) => r.maskKey === 'bad'),
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

  test('go on beside one that fails at everything: it does not eat what waits', async () => {
    const simulation = simulate({ engines: 2, fails: (engine) => engine === 0 })
    flood(simulation, 40, { tokens: [25] }, 5_000)
    await simulation.clock.run()
    const failed = simulation.outcomes.filter(({ end }) => end === 'the engine failed').length
    const answered = simulation.outcomes.filter(({ end }) => end === 'answered').length
    assert.ok(failed > 0 && answered > 10 * failed, `${answered} answered, ${failed} failed`)
  })

  test('are used again once they work', async () => {
    let broken = true
    const simulation = simulate({ engines: 2, fails: (engine) => engine === 0 && broken })
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
    assert.doesNotThrow(() => dispatcher.check(order, 'a'))
    for (let batch = 0; batch < 100; batch++) dispatcher.cost.observe({ tokens: 125, ms: 2 * batchMs(125) })
    assert.throws(
      () => dispatcher.check(order, 'a'),
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
