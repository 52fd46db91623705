import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { BatchResult, EngineRow } from '../../src/engine/engine.js'
import { Dispatcher, type Submission } from '../../src/scheduler/dispatcher.js'

const submission = (token: number, task = 'a'): Submission => ({
  task,
  row: {
    inputIds: [token],
    tokenTypeIds: [0],
    pooling: 'mean',
    maskKey: task,
    bitset: () => new Uint8Array(),
    withHidden: false,
  },
})

/** An engine that answers each row with its own token, when it is told to. */
class FakeEngine {
  readonly batches: (readonly EngineRow[])[] = []
  readonly #finish: (() => void)[] = []

  run(rows: readonly EngineRow[]): Promise<BatchResult> {
    this.batches.push(rows)
    return new Promise((resolve, reject) => {
      this.#finish.push(() => {
        if (rows.some((row) => row.inputIds[0] === 666)) reject(new Error('bad batch'))
        else
          resolve({
            rows: rows.map((row) => ({ pooled: Float32Array.from(row.inputIds) })),
            runMs: 1,
            places: rows.length,
            tokens: rows.length,
          })
      })
    })
  }

  async finish(): Promise<void> {
    this.#finish.shift()?.()
    await turn()
  }
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 2))
const never = () => false
const options = { maxTokens: 4, maxMasks: 2, maxQueueRows: 8, batchesInFlight: 1 }
const later = () => performance.now() + 60_000

function setUp(changes: Partial<typeof options> = {}) {
  const engine = new FakeEngine()
  return { engine, dispatcher: new Dispatcher(engine, { ...options, ...changes }) }
}

describe('the dispatcher', () => {
  test('answers in the order of the request, over however many batches', async () => {
    const { engine, dispatcher } = setUp()
    const answer = dispatcher.submit(
      [1, 2, 3, 4, 5, 6].map((token) => submission(token)),
      later(),
      never,
    )
    await turn()
    await engine.finish()
    await engine.finish()
    assert.deepEqual(
      (await answer).map(({ pooled }) => pooled[0]),
      [1, 2, 3, 4, 5, 6],
    )
    assert.deepEqual(
      engine.batches.map((batch) => batch.length),
      [4, 2],
    )
    assert.ok(dispatcher.idle)
  })

  test('puts requests that arrive together into one batch, of different tasks too', async () => {
    const { engine, dispatcher } = setUp()
    const answers = Promise.all([
      dispatcher.submit([submission(1, 'a')], later(), never),
      dispatcher.submit([submission(2, 'b')], later(), never),
    ])
    await turn()
    await engine.finish()
    await answers
    assert.equal(engine.batches.length, 1)
  })

  test('refuses a request that the queue has no room for, as a whole', async () => {
    const { engine, dispatcher } = setUp()
    const first = dispatcher.submit(
      [1, 2, 3, 4, 5].map((token) => submission(token)),
      later(),
      never,
    )
    await assert.rejects(
      dispatcher.submit(
        [6, 7, 8, 9].map((token) => submission(token)),
        later(),
        never,
      ),
      { code: 'overloaded' },
    )
    assert.equal(dispatcher.queuedRows, 5)
    await turn()
    await engine.finish()
    await engine.finish()
    await first
  })

  test('drops what waited past its deadline, and computes the rest', async () => {
    const { engine, dispatcher } = setUp()
    const running = dispatcher.submit([submission(1)], later(), never)
    await turn()
    const late = dispatcher.submit([submission(2)], performance.now() + 1, never)
    const inTime = dispatcher.submit([submission(3)], later(), never)
    await Promise.all([turn(), turn()])
    const refused = assert.rejects(late, { code: 'deadline_exceeded' })
    await engine.finish()
    await refused
    await engine.finish()
    await Promise.all([running, inTime])
    assert.deepEqual(
      engine.batches.flat().map((row) => row.inputIds[0]),
      [1, 3],
    )
  })

  test('drops what nobody waits for any more', async () => {
    const { engine, dispatcher } = setUp()
    let left = false
    const running = dispatcher.submit([submission(1)], later(), never)
    await turn()
    const refused = assert.rejects(
      dispatcher.submit([submission(2)], later(), () => left),
      {
        code: 'client_closed_request',
      },
    )
    left = true
    await turn()
    await engine.finish()
    await Promise.all([running, refused])
    assert.equal(engine.batches.length, 1)
  })

  test('fails only the requests of a batch that fails', async () => {
    const { engine, dispatcher } = setUp({ maxTokens: 1 })
    const bad = assert.rejects(dispatcher.submit([submission(666)], later(), never), /bad batch/)
    const good = dispatcher.submit([submission(1)], later(), never)
    await turn()
    await engine.finish()
    await engine.finish()
    await bad
    assert.equal((await good)[0]?.pooled[0], 1)
  })

  test('computes no further row of a request that has failed', async () => {
    const { engine, dispatcher } = setUp({ maxTokens: 1 })
    const failed = assert.rejects(dispatcher.submit([submission(666), submission(2), submission(3)], later(), never))
    await turn()
    await engine.finish()
    await failed
    await engine.finish()
    await turn()
    assert.ok(engine.batches.length <= 2, `${engine.batches.length} batches`)
    assert.equal(dispatcher.queuedRows, 0)
  })

  test('hands the engine no more batches at once than it is told', async () => {
    const { engine, dispatcher } = setUp({ maxTokens: 1, batchesInFlight: 2 })
    const answer = dispatcher.submit(
      [1, 2, 3].map((token) => submission(token)),
      later(),
      never,
    )
    await turn()
    assert.equal(engine.batches.length, 2)
    await engine.finish()
    assert.equal(engine.batches.length, 3)
    await engine.finish()
    await engine.finish()
    await answer
  })
})
