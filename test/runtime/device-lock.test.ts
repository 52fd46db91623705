// The lock with real threads, some of which end while they hold it or wait for it.

import assert from 'node:assert/strict'
import { on, once } from 'node:events'
import { after, describe, test } from 'node:test'
import type { Worker } from 'node:worker_threads'
import { startThread, withDeviceLock } from '../../src/runtime/device-lock.js'

interface Thread {
  readonly worker: Worker
  readonly ended: Promise<unknown>
  /** Waits for the thread's next message, which must be this one. */
  says(what: string): Promise<void>
}

const workers: Worker[] = []
after(() => Promise.all(workers.map((worker) => worker.terminate())))

/** Starts a thread that waits for the lock. */
async function thread(): Promise<Thread> {
  const worker = startThread(new URL('./lock-thread.js', import.meta.url), {}, 'lock')
  workers.push(worker)
  const ended = once(worker, 'exit')
  const said = on(worker, 'message')
  const says = async (what: string) => {
    const { value } = await said.next()
    assert.deepEqual(value, [what])
  }
  await says('waits')
  return { worker, ended, says }
}

/** Makes a thread release the lock. */
const release = ({ worker }: Thread) => worker.postMessage('release')

describe('the device lock', () => {
  test('is held by one thread at a time, first come, first served', async () => {
    const [first, second] = [await thread(), await thread()]
    const third = await thread()
    for (const each of [first, second, third]) {
      await each.says('has the lock')
      release(each)
      await each.says('is done')
    }
    assert.equal(await withDeviceLock(async () => 'free'), 'free')
  })

  test('passes on when the thread that holds it ends', async () => {
    const [holder, next] = [await thread(), await thread()]
    await holder.says('has the lock')
    await holder.worker.terminate()
    await next.says('has the lock')
    release(next)
    await next.says('is done')
  })

  test('skips threads that end while they wait', async () => {
    const [holder, first, second, living] = [await thread(), await thread(), await thread(), await thread()]
    await holder.says('has the lock')
    await Promise.all([second.worker.terminate(), first.worker.terminate()])
    release(holder)
    await living.says('has the lock')
    release(living)
    await living.says('is done')
  })

  test('is free after all threads that held it or waited have ended', async () => {
    const threads = [await thread(), await thread(), await thread()]
    await threads[0]?.says('has the lock')
    await Promise.all(threads.toReversed().map(({ worker }) => worker.terminate()))
    assert.equal(await withDeviceLock(async () => 'free'), 'free')
  })

  test('is kept by a thread that hangs', async () => {
    const [holder, next] = [await thread(), await thread()]
    await holder.says('has the lock')
    const got = next.says('has the lock').then(() => 'got it')
    assert.equal(
      await Promise.race([got, once(holder.worker, 'exit', { signal: AbortSignal.timeout(300) }).catch(() => 'waits')]),
      'waits',
    )
    release(holder)
    assert.equal(await got, 'got it')
    release(next)
    await next.says('is done')
  })

  test('survives threads that end at any time', async () => {
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
