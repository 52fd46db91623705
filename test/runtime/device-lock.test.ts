// The turns of real threads, some of which end while they have one or wait for it.

import assert from 'node:assert/strict'
import { on, once } from 'node:events'
import { after, describe, test } from 'node:test'
import type { Worker } from 'node:worker_threads'
import { startThread, withDeviceLock } from '../../src/runtime/device-lock.js'

interface Thread {
  readonly worker: Worker
  readonly ended: Promise<unknown>
  /** Resolves when the thread says so. */
  says(what: string): Promise<void>
}

const workers: Worker[] = []
after(() => Promise.all(workers.map((worker) => worker.terminate())))

/** A thread that has asked for its turn. */
async function thread(): Promise<Thread> {
  const worker = startThread(new URL('./lock-thread.js', import.meta.url), {}, 'turn')
  workers.push(worker)
  const ended = once(worker, 'exit')
  const said = on(worker, 'message')
  const says = async (what: string) => {
    const { value } = await said.next()
    assert.deepEqual(value, [what])
  }
  await says('asks')
  return { worker, ended, says }
}

/** Lets a thread end its turn. */
const release = ({ worker }: Thread) => worker.postMessage('go on')

describe("the device's turn", () => {
  test('is of one thread at a time, first come, first served', async () => {
    const [first, second] = [await thread(), await thread()]
    const third = await thread()
    for (const each of [first, second, third]) {
      await each.says('has the turn')
      release(each)
      await each.says('is done')
    }
    assert.equal(await withDeviceLock(async () => 'free'), 'free')
  })

  test('passes on when the thread that has it ends', async () => {
    const [holder, next] = [await thread(), await thread()]
    await holder.says('has the turn')
    await holder.worker.terminate()
    await next.says('has the turn')
    release(next)
    await next.says('is done')
  })

  test('passes over threads that end while they wait', async () => {
    const [holder, first, second, living] = [await thread(), await thread(), await thread(), await thread()]
    await holder.says('has the turn')
    await Promise.all([second.worker.terminate(), first.worker.terminate()])
    release(holder)
    await living.says('has the turn')
    release(living)
    await living.says('is done')
  })

  test('is free after all threads that had it or waited have ended', async () => {
    const threads = [await thread(), await thread(), await thread()]
    await threads[0]?.says('has the turn')
    await Promise.all(threads.toReversed().map(({ worker }) => worker.terminate()))
    assert.equal(await withDeviceLock(async () => 'free'), 'free')
  })

  test('stays with a thread that hangs', async () => {
    const [holder, next] = [await thread(), await thread()]
    await holder.says('has the turn')
    const got = next.says('has the turn').then(() => 'got it')
    assert.equal(
      await Promise.race([got, once(holder.worker, 'exit', { signal: AbortSignal.timeout(300) }).catch(() => 'waits')]),
      'waits',
    )
    release(holder)
    assert.equal(await got, 'got it')
    release(next)
    await next.says('is done')
  })

  test('survives threads that end at any moment', async () => {
    for (let round = 0; round < 10; round++) {
      const threads = [await thread(), await thread(), await thread()]
      const doomed = threads.filter((_, index) => ((round + 1) & (1 << index)) !== 0)
      release(threads[0] as Thread)
      await Promise.all(doomed.map(({ worker }) => worker.terminate()))
      for (const each of threads) release(each)
      await Promise.all(threads.filter((each) => !doomed.includes(each)).map(({ ended }) => ended))
      assert.equal(await withDeviceLock(async () => round), round)
    }
  })
})
