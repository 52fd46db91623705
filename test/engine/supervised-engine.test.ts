// Threads that end and threads that hang, for real: one fails at what it is sent, another computes for longer than it may.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { type Backbone, readBackbone } from '../../src/backbones/backbone.js'
import { Engine, type EngineRow } from '../../src/engine/engine.js'
import { Engines } from '../../src/engine/engines.js'
import { allEnded, leaveBehind, leftBehind } from '../../src/engine/left-behind.js'
import { packRows } from '../../src/engine/rows.js'
import { SupervisedEngine, type SupervisorReport } from '../../src/engine/supervised-engine.js'
import { readTaskFile } from '../../src/formats/task-file.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { directoryOf } from '../backbones/tiny.js'
import { distance, engineRow, golden, loadPrototype, modelDir, taskBytes } from '../material.js'

const prototype = loadPrototype()
const backbone = await readBackbone(modelDir)
const task = readTaskFile(taskBytes('sst2'))
const rows = (golden.sst2 ?? []).slice(0, 4).map((row) => engineRow(row, task, prototype))

const setting = (backbone: Backbone, prototype: Prototype | undefined, runTimeoutMs = 60_000) =>
  ({ backbone, prototype, provider: 'cpu', numerics: 'float32', slots: 4, threads: 1, runTimeoutMs }) as const

function recorded(): { readonly told: string[]; readonly report: SupervisorReport } {
  const told: string[] = []
  return {
    told,
    report: {
      lost: (reason) => told.push(`lost: ${reason}`),
      replaced: () => told.push('replaced'),
      notReplaced: (reason) => told.push(`not replaced: ${reason}`),
    },
  }
}

/** A message that the thread cannot read: an error that nothing catches. */
const endThread = (engine: SupervisedEngine) => engine.first.worker.postMessage(null)

/** Resolves when the engine has a new thread. */
async function isAvailable(engine: SupervisedEngine): Promise<void> {
  // A pause between two attempts does not keep a process alive.
  const alive = setInterval(() => {}, 1_000)
  if (!engine.available)
    await new Promise<void>((resolve) => {
      engine.onAvailable = resolve
    })
  clearInterval(alive)
  assert.equal(engine.available, true)
}

const shortRows: EngineRow[] = [
  {
    inputIds: [2, 5, 3],
    tokenTypeIds: [0, 0, 0],
    pooling: 'mean',
    maskKey: '',
    bitset: () => new Uint8Array(),
    withHidden: false,
  },
]

/** A batch that takes a core for seconds. */
const longBatch: EngineRow[] = Array.from({ length: 128 }, () => ({
  ...(rows[0] as EngineRow),
  inputIds: new Int32Array(256).fill(2023),
  tokenTypeIds: new Int32Array(256),
}))

describe('an engine whose thread', () => {
  test('ends fails the batches that it has, and goes on with a new thread', async (t) => {
    const { told, report } = recorded()
    const engine = await SupervisedEngine.start(setting(backbone, prototype), report)
    t.after(() => engine.close())
    const before = await engine.run(rows)
    endThread(engine)
    await assert.rejects(engine.run(rows), { code: 'engine_lost', message: /the engine's thread failed/ })
    assert.equal(engine.available, false)
    await assert.rejects(engine.run(rows), { code: 'engine_lost', message: /a new one has not started yet/ })
    await isAvailable(engine)
    const after = await engine.run(rows)
    assert.ok(distance(before.rows[0]?.pooled ?? [], after.rows[0]?.pooled ?? [1]) < 1e-5)
    assert.match(told.join('\n'), /^lost: the engine's thread failed: .*\nreplaced$/)
    // One mask was loaded into the bank that is gone, and again into the new one.
    assert.equal(engine.bank.loads, 2)
  })

  test('cannot load a mask ends, too: other batches would find another mask in its slot', async (t) => {
    const { told, report } = recorded()
    const engine = await SupervisedEngine.start(setting(backbone, prototype), report)
    t.after(() => engine.close())
    const loads = { slots: [0], planes: [1], bitsets: new Uint8Array(3) }
    const slots = new Int32Array(rows.length)
    engine.first.worker.postMessage({ id: 0, rows: packRows(rows), slots, loads, withHidden: false })
    await assert.rejects(engine.run(rows), { code: 'engine_lost', message: /thread failed: 3 bytes for 1 slots/ })
    await isAvailable(engine)
    assert.equal((await engine.run(rows)).rows.length, rows.length)
    assert.match(told.join('\n'), /^lost: .*3 bytes for 1 slots.*\nreplaced$/)
  })

  test('gives back no batch in time is given up, and answers no more', async (t) => {
    const { told, report } = recorded()
    const engine = await SupervisedEngine.start(setting(backbone, prototype, 1500), report)
    t.after(() => engine.close())
    const { worker } = engine.first
    await assert.rejects(engine.run(longBatch), { code: 'engine_lost', message: /returned no batch for 1500 ms/ })
    const ended = once(worker, 'exit')
    assert.equal(leftBehind(), 1)
    await isAvailable(engine)
    const { rows: answers } = await engine.run(rows)
    assert.equal(answers.length, rows.length)
    assert.deepEqual(told, ['lost: the engine returned no batch for 1500 ms', 'replaced'])
    await ended
    assert.equal(leftBehind(), 0)
  })

  test('is not replaced while two that were given up have not ended', async (t) => {
    const { told, report } = recorded()
    const tiny = await readBackbone(directoryOf('bert'))
    const engine = await SupervisedEngine.start(setting(tiny, undefined), report)
    const hung = [0, 1].map(() => new Worker('setInterval(() => {}, 1e6)', { eval: true }))
    t.after(() => Promise.all(hung.map((worker) => worker.terminate())))
    await Promise.all(hung.map((worker) => once(worker, 'online')))
    for (const worker of hung) leaveBehind(worker)
    endThread(engine)
    await assert.rejects(engine.run(shortRows))
    while (told.length < 2) await new Promise((resolve) => setTimeout(resolve, 10))
    assert.equal(told[1], 'not replaced: 2 threads that were given up have not ended')
    await hung[0]?.terminate()
    await isAvailable(engine)
    assert.equal(told.at(-1), 'replaced')
    await hung[1]?.terminate()
    await engine.close()
  })

  test('cannot be replaced says so to every batch, and is tried again', async (t) => {
    const { told, report } = recorded()
    // A file that is gone, as after an upgrade that removed the model.
    const tiny = await readBackbone(directoryOf('bert'))
    const options = { ...setting(tiny, undefined), backbone: { ...tiny } }
    const engine = await SupervisedEngine.start(options, report)
    t.after(() => engine.close())
    Object.assign(options.backbone, { weightsFolder: '/gone' })
    const ended = new Promise((resolve) => engine.first.worker.once('exit', resolve))
    endThread(engine)
    await ended
    while (told.length < 2) await new Promise((resolve) => setTimeout(resolve, 10))
    await assert.rejects(engine.run([]), { code: 'engine_lost', message: /a new one has not started yet/ })
    Object.assign(options.backbone, { weightsFolder: tiny.weightsFolder })
    await isAvailable(engine)
    assert.match(told.join('\n'), /^lost: .*\nnot replaced: .* path does not exist.*\nreplaced$/s)
  })
})

test('an engine that does not start in time is left behind, and its error names the setting', async () => {
  await assert.rejects(Engine.start({ ...setting(backbone, prototype), startTimeoutMs: 1 }), {
    code: 'engine_lost',
    message: /did not start within 1 ms, the limit of the engine-start-timeout-ms setting/,
  })
  assert.equal(leftBehind(), 1)
  await allEnded()
  assert.equal(leftBehind(), 0)
})

test('several engines share the threads, and count their banks together', async (t) => {
  const { report } = recorded()
  const engines = await Engines.start(2, { ...setting(backbone, prototype), threads: 4 }, () => report)
  t.after(() => engines.close())
  assert.deepEqual(
    engines.all.map(({ options }) => options.threads),
    [2, 2],
  )
  const [a, b] = await Promise.all(engines.all.map((engine) => engine.run(rows)))
  assert.ok(distance(a?.rows[3]?.pooled ?? [], b?.rows[3]?.pooled ?? [1]) < 1e-6)
  assert.equal(engines.bank.loads, 2)
  assert.equal(engines.available, 2)
  const each = engines.all.flatMap(({ first }) => first.timings)
  const sizes = [...new Set(each.map(({ tokens }) => tokens))].sort((a, b) => a - b)
  const fastest = sizes.map((size) => Math.min(...each.filter(({ tokens }) => tokens === size).map(({ ms }) => ms)))
  assert.deepEqual(
    engines.timings,
    sizes.map((tokens, at) => ({ tokens, ms: fastest[at] })),
  )
})

test('left to themselves there is an engine for each thread, at most four', async () => {
  const { report } = recorded()
  const tiny = await readBackbone(directoryOf('bert'))
  for (const [threads, each] of [
    [1, [1]],
    [3, [1, 1, 1]],
    [9, [2, 2, 2, 2]],
  ] as const) {
    const engines = await Engines.start('auto', { ...setting(tiny, undefined), threads }, () => report)
    await engines.close()
    assert.deepEqual(
      engines.all.map(({ options }) => options.threads),
      each,
    )
    assert.equal(engines.choice.provider, 'cpu')
  }
})
