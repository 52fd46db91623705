// The dispatcher with real engines: rows that onnxruntime refuses, and threads that are lost.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Backbone, readBackbone } from '../../src/backbones/backbone.js'
import type { EngineRow, RowResult } from '../../src/engine/engine.js'
import { SupervisedEngine, type SupervisorReport } from '../../src/engine/supervised-engine.js'
import { CostModel } from '../../src/scheduler/cost.js'
import { Dispatcher } from '../../src/scheduler/dispatcher.js'
import { directoryOf } from '../backbones/tiny.js'
import { distance } from '../material.js'

const tiny = await readBackbone(directoryOf('bert'))
const silent: SupervisorReport = { lost: () => {}, replaced: () => {}, notReplaced: () => {} }

const rowOf = (ids: readonly number[]): EngineRow => ({
  inputIds: ids,
  tokenTypeIds: ids.map(() => 0),
  pooling: 'mean',
  maskKey: 'none',
  bitset: () => new Uint8Array(),
  withHidden: false,
})
const good = Array.from({ length: 20 }, (_, index) => rowOf([2, 5 + (index % 7), 6, 3]))
const [first] = good

async function dispatching(backbone: Backbone) {
  const setting = { prototype: undefined, provider: 'cpu', numerics: 'float32', slots: 1, threads: 1 } as const
  const engine = await SupervisedEngine.start({ ...setting, backbone, runTimeoutMs: 60_000 }, silent)
  const limits = { maxTokens: 1_000, maxMasks: 1, maxQueueRows: 1_000 }
  const dispatcher = new Dispatcher([engine], limits, new CostModel(engine.first.timings))
  const ask = (row = first as EngineRow, timeoutMs = 60_000): Promise<RowResult[]> =>
    dispatcher.submit([{ task: 'a', row }], { tenant: '', weight: 1, deadline: performance.now() + timeoutMs })
  return { engine, dispatcher, ask }
}

/** The thread gets a message that it cannot read, and ends by an error that nothing catches. */
const endThread = (engine: SupervisedEngine) => engine.first.worker.postMessage(null)

test('a row with an id beyond the vocabulary fails alone, and its neighbours get what they get without it', async (t) => {
  const { engine, dispatcher, ask } = await dispatching(tiny)
  t.after(() => engine.close())
  const alone = await Promise.all(good.map((row) => engine.run([row])))
  let answered = 0
  dispatcher.onBatch = () => answered++
  const bad = rowOf([2, tiny.dims.vocabulary, 6, 3])
  const asked = [...good.slice(0, 13), bad, ...good.slice(13)].map((row) => ask(row))
  const ends = await Promise.allSettled(asked)
  assert.deepEqual(
    ends.flatMap(({ status }, index) => (status === 'rejected' ? [index] : [])),
    [13],
  )
  await assert.rejects(asked[13] ?? Promise.resolve(), { name: 'Error', message: /onnxruntime failed on a batch/ })
  const answers = await Promise.all(asked.filter((_, index) => index !== 13))
  for (const [index, [answer]] of answers.entries())
    assert.ok(distance(answer?.pooled ?? [], alone[index]?.rows[0]?.pooled ?? [1]) < 1e-5, `row ${index}`)
  assert.ok(answered > 1 && answered < 21, `${answered} batches were answered`)
  assert.ok(dispatcher.idle && engine.available)
  assert.equal((await ask()).length, 1)
})

describe('when the thread of the only engine is lost', () => {
  test('rows that come wait for the new one', async (t) => {
    const { engine, ask } = await dispatching(tiny)
    t.after(() => engine.close())
    endThread(engine)
    // It is at the engine when the thread ends, or waits for the new one already.
    const [asked] = await Promise.allSettled([ask()])
    if (asked.status === 'rejected') assert.equal(asked.reason.code, 'engine_lost')
    const answers = await Promise.all(good.map((row) => ask(row)))
    assert.equal(answers.length, good.length)
  })

  test('and none starts, rows are answered by their deadlines', async (t) => {
    // A file that is gone, as after an upgrade that removed the model.
    const backbone = { ...tiny }
    const { engine, dispatcher, ask } = await dispatching(backbone)
    t.after(() => engine.close())
    Object.assign(backbone, { weightsFolder: '/gone' })
    endThread(engine)
    await assert.rejects(ask(), { code: 'engine_lost' })
    await Promise.all([300, 100].map((ms) => assert.rejects(ask(first, ms), { code: 'engine_lost' })))
    assert.ok(dispatcher.idle)
  })
})
