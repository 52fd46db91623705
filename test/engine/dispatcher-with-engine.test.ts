// The dispatcher with real engines: rows that onnxruntime rejects, and threads that are lost.

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

async function startDispatcher(backbone: Backbone) {
  const setting = { prototype: undefined, provider: 'cpu', numerics: 'float32', slots: 1, threads: 1 } as const
  const engine = await SupervisedEngine.start({ ...setting, backbone, runTimeoutMs: 60_000 }, silent)
  const limits = { maxTokens: 1_000, maxMasks: 1, maxQueueRows: 1_000 }
  const dispatcher = new Dispatcher([engine], limits, new CostModel(engine.first.timings))
  const submit = (row = first as EngineRow, timeoutMs = 60_000): Promise<RowResult[]> =>
    dispatcher.submit([{ task: 'a', row }], { tenant: '', weight: 1, deadline: performance.now() + timeoutMs })
  return { engine, dispatcher, submit }
}

/** Sends a message that the thread cannot read, which causes an uncaught error. */
const endThread = (engine: SupervisedEngine) => engine.first.worker.postMessage(null)

test('a row with an id outside the vocabulary fails alone, and the results of other rows do not change', async (t) => {
  const { engine, dispatcher, submit } = await startDispatcher(tiny)
  t.after(() => engine.close())
  const alone = await Promise.all(good.map((row) => engine.run([row])))
  let computed = 0
  dispatcher.onBatch = () => computed++
  const bad = rowOf([2, tiny.dims.vocabulary, 6, 3])
  const submitted = [...good.slice(0, 13), bad, ...good.slice(13)].map((row) => submit(row))
  const ends = await Promise.allSettled(submitted)
  assert.deepEqual(
    ends.flatMap(({ status }, index) => (status === 'rejected' ? [index] : [])),
    [13],
  )
  await assert.rejects(submitted[13] ?? Promise.resolve(), { name: 'Error', message: /onnxruntime failed on a batch/ })
  const results = await Promise.all(submitted.filter((_, index) => index !== 13))
  for (const [index, [result]] of results.entries())
    assert.ok(distance(result?.pooled ?? [], alone[index]?.rows[0]?.pooled ?? [1]) < 1e-5, `row ${index}`)
  assert.ok(computed > 1 && computed < 21, `${computed} batches were computed`)
  assert.ok(dispatcher.idle && engine.available)
  assert.equal((await submit()).length, 1)
})

describe('when the thread of the only engine is lost', () => {
  test('new rows wait for its replacement', async (t) => {
    const { engine, submit } = await startDispatcher(tiny)
    t.after(() => engine.close())
    endThread(engine)
    // The row is at the engine when the thread ends, or waits for the new thread already.
    const [outcome] = await Promise.allSettled([submit()])
    if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'engine_lost')
    const results = await Promise.all(good.map((row) => submit(row)))
    assert.equal(results.length, good.length)
  })

  test('and no replacement starts, rows fail by their deadlines', async (t) => {
    // The weights are missing, as after an upgrade that removed the model.
    const backbone = { ...tiny }
    const { engine, dispatcher, submit } = await startDispatcher(backbone)
    t.after(() => engine.close())
    Object.assign(backbone, { weightsFolder: '/gone' })
    endThread(engine)
    await assert.rejects(submit(), { code: 'engine_lost' })
    await Promise.all([300, 100].map((ms) => assert.rejects(submit(first, ms), { code: 'engine_lost' })))
    assert.ok(dispatcher.idle)
  })
})
