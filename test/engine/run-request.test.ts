import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { RunRequest } from '../../src/engine/protocol.js'
import { runRequest } from '../../src/engine/run-request.js'
import { packRows } from '../../src/runtime/packed-rows.js'

const requestOf = (ids: readonly number[]): RunRequest => ({
  id: 7,
  rows: packRows([{ inputIds: ids, tokenTypeIds: ids.map(() => 0), pooling: 'mean' }]),
  slots: new Int32Array(1),
  loads: { slots: [], planes: [], bitsets: new Uint8Array() },
  withHidden: false,
})

/** A session with a vocabulary of 100 ids, which fails once it is not sound. */
function session(isSound: () => boolean) {
  const lengths: number[] = []
  return {
    lengths,
    load: async () => {},
    run: async ({ inputIds }: RunRequest['rows']) => {
      lengths.push(inputIds.length)
      if (!isSound()) throw new Error('the device is lost')
      if (inputIds.some((id) => id >= 100)) throw new Error('index out of bounds')
      return { pooled: Float32Array.of(1) }
    },
  }
}

describe('a batch that fails', () => {
  test('is the fault of its rows if the session can compute another row', async () => {
    const sound = session(() => true)
    assert.deepEqual(await runRequest(sound, requestOf([1, 500]), 512), {
      kind: 'error',
      id: 7,
      message: 'index out of bounds',
    })
    const message = await runRequest(sound, requestOf([1, 2, 3]), 512)
    assert.equal(message.kind, 'result')
    assert.deepEqual(sound.lengths, [2, 8, 3])
  })

  test('ends the thread if the session no longer computes', async () => {
    await assert.rejects(
      runRequest(
        session(() => false),
        requestOf([1, 2]),
        512,
      ),
      /the device is lost/,
    )
  })

  test('is checked with a row that is short enough for the backbone', async () => {
    const short = session(() => true)
    await runRequest(short, requestOf([500]), 4)
    assert.deepEqual(short.lengths, [1, 4])
  })

  test('ends the thread if its masks could not be loaded', async () => {
    const load = () => Promise.reject(new Error('the bitsets of 1 slots have 3 bytes'))
    await assert.rejects(runRequest({ ...session(() => true), load }, requestOf([1]), 512), /3 bytes/)
  })
})
