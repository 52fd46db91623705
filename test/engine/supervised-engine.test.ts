// Threads that end and threads that hang, for real: one fails at what it is sent, another computes for longer than it may.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { type Backbone, readBackbone } from '../../src/backbones/backbone.js'
import {
  abandonedThreadCount,
  allAbandonedThreadsEnded,
  heldBytes,
  startObstacle,
  trackAbandonedThread,
} from '../../src/engine/abandoned-threads.js'
import { Engine, type EngineRow } from '../../src/engine/engine.js'
import { lossOf } from '../../src/engine/engine-lost.js'
import { Engines } from '../../src/engine/engines.js'
import { SupervisedEngine, type SupervisorReport } from '../../src/engine/supervised-engine.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { packRows } from '../../src/runtime/packed-rows.js'
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
      lost: ({ cause, reason }) => told.push(`${cause}: ${reason}`),
      replaced: () => told.push('replaced'),
      notReplaced: (cause, reason) => told.push(`not replaced, ${cause}: ${reason}`),
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
const longBatch: EngineRow[] = Array.from({ length: 40 }, () => ({
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
    assert.match(told.join('\n'), /^failed: the engine's thread failed: .*\nreplaced$/)
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
    assert.match(told.join('\n'), /^failed: .*3 bytes for 1 slots.*\nreplaced$/)
  })

  test('gives back no batch in time is given up, and answers no more', async (t) => {
    const { told, report } = recorded()
    const engine = await SupervisedEngine.start(setting(backbone, prototype, 1000), report)
    t.after(() => engine.close())
    const { worker } = engine.first
    await assert.rejects(engine.run(longBatch), { code: 'engine_lost', message: /returned no batch for 1000 ms/ })
    const ended = once(worker, 'exit')
    assert.equal(abandonedThreadCount(), 1)
    await isAvailable(engine)
    const { rows: answers } = await engine.run(rows)
    assert.equal(answers.length, rows.length)
    assert.deepEqual(told, ['hung: the engine returned no batch for 1000 ms', 'replaced'])
    await ended
    assert.equal(abandonedThreadCount(), 0)
  })

  test('is not replaced while three that were given up have not ended', async (t) => {
    const { told, report } = recorded()
    const tiny = await readBackbone(directoryOf('bert'))
    const engine = await SupervisedEngine.start(setting(tiny, undefined), report)
    const hung = [0, 1, 2].map(() => new Worker('setInterval(() => {}, 1e6)', { eval: true }))
    t.after(() => Promise.all(hung.map((worker) => worker.terminate())))
    await Promise.all(hung.map((worker) => once(worker, 'online')))
    for (const worker of hung) trackAbandonedThread(worker)
    endThread(engine)
    await assert.rejects(engine.run(shortRows))
    while (told.length < 2) await new Promise((resolve) => setTimeout(resolve, 10))
    assert.equal(
      told[1],
      'not replaced, left_behind: 3 threads that were given up have not ended; at most 2 may be left behind',
    )
    await hung[0]?.terminate()
    await isAvailable(engine)
    assert.equal(told.at(-1), 'replaced')
    await Promise.all(hung.map((worker) => worker.terminate()))
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
    endThread(engine)
    while (told.length < 2) await new Promise((resolve) => setTimeout(resolve, 10))
    await assert.rejects(engine.run([]), { code: 'engine_lost', message: /a new one has not started yet/ })
    Object.assign(options.backbone, { weightsFolder: tiny.weightsFolder })
    await isAvailable(engine)
    assert.match(told.join('\n'), /^failed: .*\nnot replaced, start_failed: .* path does not exist.*\nreplaced$/s)
  })
})

test('engines are closed in the time that is given, while a thread that was left behind hangs', async (t) => {
  const tiny = await readBackbone(directoryOf('bert'))
  const engines = await Engines.start(2, setting(tiny, undefined), () => recorded().report)
  const hung = new Worker('Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)', { eval: true })
  t.after(() => hung.terminate())
  await once(hung, 'online')
  trackAbandonedThread(hung)
  await engines.close(500)
  assert.equal(abandonedThreadCount(), 1)
  await hung.terminate()
  assert.equal(abandonedThreadCount(), 0)
})

test('an engine is started beside threads that were left behind only if the memory has room for it', async (t) => {
  const memory = { limitBytes: heldBytes() + 1e9, engineBytes: 2e9 }
  assert.equal(startObstacle(memory), undefined)
  const hung = new Worker('setInterval(() => {}, 1e6)', { eval: true })
  t.after(() => hung.terminate())
  await once(hung, 'online')
  trackAbandonedThread(hung)
  assert.match(startObstacle(memory) ?? '', /^1 thread that was given up has not ended, and the memory has no room/)
  assert.equal(startObstacle({ ...memory, engineBytes: 1e8 }), undefined)
  await hung.terminate()
  assert.equal(startObstacle(memory), undefined)
})

test('losses are told apart by their cause', () => {
  const cases = [
    [new Error('std::bad_alloc'), 'cpu', 'out_of_memory'],
    [new Error('CUDA failure 2: out of memory ; GPU=0'), 'cuda', 'out_of_memory'],
    [Object.assign(new Error('x'), { code: 'ERR_WORKER_OUT_OF_MEMORY' }), undefined, 'out_of_memory'],
    [new Error('CUDA failure 719: unspecified launch failure'), 'cuda', 'provider_lost'],
    [new Error('the device was lost'), 'webgpu', 'provider_lost'],
    [new Error('3 bytes for 1 slots'), 'cpu', 'failed'],
    [new Error('anything'), undefined, 'failed'],
  ] as const
  for (const [error, provider, cause] of cases) {
    const loss = lossOf(error, provider)
    assert.equal(loss.cause, cause)
    assert.ok(loss.reason.includes(error.message))
  }
})

test('an engine that does not start in time is left behind, and its error names the setting', async () => {
  await assert.rejects(Engine.start({ ...setting(backbone, prototype), startTimeoutMs: 1 }), {
    code: 'engine_lost',
    message: /did not start within 1 ms, the limit of the engine-start-timeout-ms setting/,
  })
  assert.equal(abandonedThreadCount(), 1)
  await allAbandonedThreadsEnded(60_000)
  assert.equal(abandonedThreadCount(), 0)
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
