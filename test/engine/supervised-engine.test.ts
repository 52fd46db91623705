// Threads that really end or hang: one fails on a message, another computes for longer than the timeout.

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

function recordReports(): { readonly events: string[]; readonly report: SupervisorReport } {
  const events: string[] = []
  return {
    events,
    report: {
      lost: ({ cause, reason }) => events.push(`${cause}: ${reason}`),
      replaced: () => events.push('replaced'),
      notReplaced: (cause, reason) => events.push(`not replaced, ${cause}: ${reason}`),
    },
  }
}

/** Sends a message that the thread cannot read, which causes an uncaught error. */
const endThread = (engine: SupervisedEngine) => engine.first.worker.postMessage(null)

/** Resolves when the engine has a new thread. */
async function isAvailable(engine: SupervisedEngine): Promise<void> {
  // The pause between two attempts does not keep the process alive, so this timer does.
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

/** A batch that takes one core several seconds. */
const longBatch: EngineRow[] = Array.from({ length: 40 }, () => ({
  ...(rows[0] as EngineRow),
  inputIds: new Int32Array(256).fill(2023),
  tokenTypeIds: new Int32Array(256),
}))

describe('an engine whose thread', () => {
  test('ends fails its batches and continues with a new thread', async (t) => {
    const { events, report } = recordReports()
    const engine = await SupervisedEngine.start(setting(backbone, prototype), report)
    t.after(() => engine.close())
    const before = await engine.run(rows)
    endThread(engine)
    await assert.rejects(engine.run(rows), { code: 'engine_lost', message: /the engine's thread failed/ })
    assert.equal(engine.available, false)
    await assert.rejects(engine.run(rows), { code: 'engine_lost', message: /its replacement has not started yet/ })
    await isAvailable(engine)
    const after = await engine.run(rows)
    assert.ok(distance(before.rows[0]?.pooled ?? [], after.rows[0]?.pooled ?? [1]) < 1e-5)
    assert.match(events.join('\n'), /^failed: the engine's thread failed: .*\nreplaced$/)
    // The mask was loaded into the former bank, and again into the new one.
    assert.equal(engine.bank.loads, 2)
  })

  test('cannot load a mask is replaced, because its slots hold unknown masks', async (t) => {
    const { events, report } = recordReports()
    const engine = await SupervisedEngine.start(setting(backbone, prototype), report)
    t.after(() => engine.close())
    const loads = { slots: [0], planes: [1], bitsets: new Uint8Array(3) }
    const slots = new Int32Array(rows.length)
    engine.first.worker.postMessage({ id: 0, rows: packRows(rows), slots, loads, withHidden: false })
    await assert.rejects(engine.run(rows), {
      code: 'engine_lost',
      message: /thread failed: the bitsets of 1 slots have 3 bytes/,
    })
    await isAvailable(engine)
    assert.equal((await engine.run(rows)).rows.length, rows.length)
    assert.match(events.join('\n'), /^failed: .*the bitsets of 1 slots have 3 bytes.*\nreplaced$/)
  })

  test('returns no batch in time is abandoned and replaced', async (t) => {
    const { events, report } = recordReports()
    const engine = await SupervisedEngine.start(setting(backbone, prototype, 1000), report)
    t.after(() => engine.close())
    const { worker } = engine.first
    await assert.rejects(engine.run(longBatch), { code: 'engine_lost', message: /returned no batch for 1000 ms/ })
    const ended = once(worker, 'exit')
    assert.equal(abandonedThreadCount(), 1)
    await isAvailable(engine)
    const { rows: results } = await engine.run(rows)
    assert.equal(results.length, rows.length)
    assert.deepEqual(events, ['hung: the engine returned no batch for 1000 ms', 'replaced'])
    await ended
    assert.equal(abandonedThreadCount(), 0)
  })

  test('is not replaced while three abandoned threads have not ended', async (t) => {
    const { events, report } = recordReports()
    const tiny = await readBackbone(directoryOf('bert'))
    const engine = await SupervisedEngine.start(setting(tiny, undefined), report)
    const hung = [0, 1, 2].map(() => new Worker('setInterval(() => {}, 1e6)', { eval: true }))
    t.after(() => Promise.all(hung.map((worker) => worker.terminate())))
    await Promise.all(hung.map((worker) => once(worker, 'online')))
    for (const worker of hung) trackAbandonedThread(worker)
    endThread(engine)
    await assert.rejects(engine.run(shortRows))
    while (events.length < 2) await new Promise((resolve) => setTimeout(resolve, 10))
    assert.equal(
      events[1],
      'not replaced, left_behind: 3 abandoned threads have not ended; a new engine starts only with at most 2 of them',
    )
    await hung[0]?.terminate()
    await isAvailable(engine)
    assert.equal(events.at(-1), 'replaced')
    await Promise.all(hung.map((worker) => worker.terminate()))
    await engine.close()
  })

  test('cannot be replaced fails every batch, and is tried again', async (t) => {
    const { events, report } = recordReports()
    // The weights are missing, as after an upgrade that removed the model.
    const tiny = await readBackbone(directoryOf('bert'))
    const options = { ...setting(tiny, undefined), backbone: { ...tiny } }
    const engine = await SupervisedEngine.start(options, report)
    t.after(() => engine.close())
    Object.assign(options.backbone, { weightsFolder: '/gone' })
    endThread(engine)
    while (events.length < 2) await new Promise((resolve) => setTimeout(resolve, 10))
    await assert.rejects(engine.run([]), { code: 'engine_lost', message: /its replacement has not started yet/ })
    Object.assign(options.backbone, { weightsFolder: tiny.weightsFolder })
    await isAvailable(engine)
    assert.match(events.join('\n'), /^failed: .*\nnot replaced, start_failed: .* path does not exist.*\nreplaced$/s)
  })
})

test('engines close within the timeout while an abandoned thread hangs', async (t) => {
  const tiny = await readBackbone(directoryOf('bert'))
  const engines = await Engines.start(2, setting(tiny, undefined), () => recordReports().report)
  const hung = new Worker('Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)', { eval: true })
  t.after(() => hung.terminate())
  await once(hung, 'online')
  trackAbandonedThread(hung)
  await engines.close(500)
  assert.equal(abandonedThreadCount(), 1)
  await hung.terminate()
  assert.equal(abandonedThreadCount(), 0)
})

test('an engine starts next to abandoned threads only if memory has room for it', async (t) => {
  const memory = { limitBytes: heldBytes() + 1e9, engineBytes: 2e9 }
  assert.equal(startObstacle(memory), undefined)
  const hung = new Worker('setInterval(() => {}, 1e6)', { eval: true })
  t.after(() => hung.terminate())
  await once(hung, 'online')
  trackAbandonedThread(hung)
  assert.match(startObstacle(memory) ?? '', /^1 abandoned thread has not ended, and memory has no room/)
  assert.equal(startObstacle({ ...memory, engineBytes: 1e8 }), undefined)
  await hung.terminate()
  assert.equal(startObstacle(memory), undefined)
})

test('the cause of a loss is found from the error', () => {
  const cases = [
    [new Error('std::bad_alloc'), 'cpu', 'out_of_memory'],
    [new Error('CUDA failure 2: out of memory ; GPU=0'), 'cuda', 'out_of_memory'],
    [Object.assign(new Error('x'), { code: 'ERR_WORKER_OUT_OF_MEMORY' }), undefined, 'out_of_memory'],
    [new Error('CUDA failure 719: unspecified launch failure'), 'cuda', 'provider_lost'],
    [new Error('the device was lost'), 'webgpu', 'provider_lost'],
    [new Error('the bitsets of 1 slots have 3 bytes'), 'cpu', 'failed'],
    [new Error('anything'), undefined, 'failed'],
  ] as const
  for (const [error, provider, cause] of cases) {
    const loss = lossOf(error, provider)
    assert.equal(loss.cause, cause)
    assert.ok(loss.reason.includes(error.message))
  }
})

test('an engine that does not start in time is abandoned, and the error names the setting', async () => {
  await assert.rejects(Engine.start({ ...setting(backbone, prototype), startTimeoutMs: 1 }), {
    code: 'engine_lost',
    message: /did not start within 1 ms, the limit of the engine-start-timeout-ms setting/,
  })
  assert.equal(abandonedThreadCount(), 1)
  await allAbandonedThreadsEnded(60_000)
  assert.equal(abandonedThreadCount(), 0)
})

test('several engines share the threads, and their bank counters are summed', async (t) => {
  const { report } = recordReports()
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

test('with "auto" there is one engine per thread, at most four', async () => {
  const { report } = recordReports()
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
