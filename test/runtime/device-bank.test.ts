import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { GraphBuilder } from '../../src/graph/graph.js'
import { serializeOnnx } from '../../src/graph/onnx.js'
import { gather, slice } from '../../src/graph/operators.js'
import { DeviceBank } from '../../src/runtime/device-bank.js'
import { openDeviceSession } from '../../src/runtime/device-session.js'
import { testProvider } from '../material.js'

const skip = testProvider !== 'webgpu' && 'needs the WebGPU provider'

/** The words of every slot, read with another session: the binding cannot read the device's memory. */
async function wordsOf(bank: DeviceBank): Promise<number[][]> {
  const { slots, layers, maskBytes } = bank.shape
  const g = new GraphBuilder()
  const words = g.input('bank', 'float32', [slots, layers, maskBytes])
  const all = gather(g, words, g.input('slots', 'int32', ['B']))
  const session = await openDeviceSession('webgpu', g.build([g.output('all', all)]))
  const every = Int32Array.from({ length: slots }, (_, slot) => slot)
  const { all: read } = await session.run({ bank: bank.words, slots: new Tensor('int32', every, [slots]) })
  await session.release()
  const data = Array.from(read?.data as Float32Array)
  return Array.from(every, (slot) => data.slice(slot * layers * maskBytes, (slot + 1) * layers * maskBytes))
}

describe('the bank on a WebGPU device', { skip }, () => {
  test('starts empty, and loads bitsets of one or two planes without changing other slots', async () => {
    // An odd number of words per slot, because words are uploaded in pairs.
    const bank = await DeviceBank.open('webgpu', { slots: 4, layers: 1, maskBytes: 3 })
    try {
      const none = [0, 0, 0]
      assert.deepEqual(await wordsOf(bank), [none, none, none, none])
      await bank.load({ slots: [3, 0], planes: [2, 1], bitsets: Uint8Array.of(1, 255, 3, 255, 5, 128, 7, 8, 255) })
      const two = [1 + 256 * 255, 255 + 256 * 5, 3 + 256 * 128]
      assert.deepEqual(await wordsOf(bank), [[7, 8, 255], none, none, two])
      await bank.load({ slots: [], planes: [], bitsets: new Uint8Array() })
      await bank.load({ slots: [3], planes: [1], bitsets: Uint8Array.of(9, 10, 11) })
      assert.deepEqual(await wordsOf(bank), [[7, 8, 255], none, none, [9, 10, 11]])
    } finally {
      await bank.release()
    }
  })

  test('holds the latest bitset of each slot after many loads', async () => {
    const [slots, layers, maskBytes] = [5, 3, 4]
    const bank = await DeviceBank.open('webgpu', { slots, layers, maskBytes })
    const expected = Array.from({ length: slots }, () => new Array<number>(layers * maskBytes).fill(0))
    const byte = (load: number, at: number) => (load * 89 + at * 37 + 11) & 255
    for (let load = 0; load < 20; load++) {
      const places = [load % slots, (load + 2) % slots].slice(0, 1 + (load % 2))
      const size = layers * maskBytes
      const bitsets = Uint8Array.from({ length: places.length * size }, (_, at) => byte(load, at))
      await bank.load({ slots: places, planes: places.map(() => 1), bitsets })
      for (const [i, slot] of places.entries())
        expected[slot] = Array.from({ length: size }, (_, at) => byte(load, i * size + at))
    }
    assert.deepEqual(await wordsOf(bank), expected)
    await bank.release()
  })

  test('is rejected with its size if it does not fit into device memory', async () => {
    await assert.rejects(
      DeviceBank.open('webgpu', { slots: 65_536, layers: 24, maskBytes: 16_384 }),
      /no room for a bank of 65536 slots \(103080 MB\); configure fewer slots/,
    )
  })
})

test('a graph with an operator that WebGPU lacks is rejected instead of silently running it on the CPU', {
  skip,
}, async () => {
  const g = new GraphBuilder()
  const x = g.input('x', 'int32', [4])
  const graph = g.build([g.output('y', slice(g, x, 0, 1, 3))])
  const onCpu = await InferenceSession.create(serializeOnnx(graph), { executionProviders: ['webgpu'] })
  await onCpu.release()
  await assert.rejects(
    openDeviceSession('webgpu', graph),
    /it lacks operators of the graph, which would run on the CPU/,
  )
})
