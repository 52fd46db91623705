// The bank in the memory of a WebGPU device. It is made there and stays there: only the bitsets of new tasks are
// uploaded, two bytes for eight mask entries, and become words in their slots on the device. Sessions of one process
// share the device, so that the serving session is fed the very buffer.

import { type InferenceSession, Tensor } from 'onnxruntime-node'
import { bytesOf, type Graph, GraphBuilder } from '../graph/graph.js'
import { cast, concat, div, expand, mul, reshape, scatter, slice, sub } from '../graph/operators.js'
import { Bank, type Loads } from './bank.js'
import { withDeviceLock } from './device-lock.js'
import { openDeviceSession } from './device-session.js'
import { UnsuitableDevice } from './provider-errors.js'

export interface BankShape {
  readonly slots: number
  readonly layers: number
  readonly maskBytes: number
}

export class DeviceBank {
  private constructor(
    readonly shape: BankShape,
    /** float32 [slots, layers, ⌈n/8⌉], the words as numbers. */
    readonly words: Tensor,
    readonly maker: InferenceSession,
    readonly loader: InferenceSession,
  ) {}

  /** @throws UnsuitableDevice if the device cannot hold it */
  static async open(shape: BankShape): Promise<DeviceBank> {
    const maker = await openDeviceSession('webgpu', emptyBank(shape), { preferredOutputLocation: 'gpu-buffer' })
    const loader = await openDeviceSession('webgpu', loading(shape))
    try {
      const { bank } = await maker.run({ zero: new Tensor('float32', Float32Array.of(0), [1, 1, 1]) })
      if (bank?.location !== 'gpu-buffer') throw new Error('the bank did not stay on the device')
      return new DeviceBank(shape, bank, maker, loader)
    } catch (error) {
      await maker.release()
      await loader.release()
      const { slots, layers, maskBytes } = shape
      const megabytes = Math.ceil((slots * layers * maskBytes * Float32Array.BYTES_PER_ELEMENT) / 1e6)
      const reason = (error as Error).message.split('\n')[0]
      throw new UnsuitableDevice(
        `its memory takes no bank of ${slots} slots, ${megabytes} MB; expected fewer slots (${reason})`,
      )
    }
  }

  /** Takes a turn on the device, if there is something to load. */
  async load({ slots, planes, bitsets }: Loads): Promise<void> {
    if (slots.length === 0) return
    const { layers, maskBytes } = this.shape
    const fresh = new Bank(slots.length, layers, maskBytes)
    fresh.load({ slots: slots.map((_, at) => at), planes, bitsets })
    const feeds = {
      bank: this.words,
      slots: new Tensor('int32', Int32Array.from(slots), [slots.length, 1, 1]),
      fresh: new Tensor('uint32', pairs(fresh), [slots.length, pairsOf(fresh.slotWords), 1]),
    }
    // The bank is what the session reads and what it writes: nothing but the slots changes, and nothing is copied.
    await withDeviceLock(async () => {
      const { loaded } = await this.loader.run(feeds, { loaded: this.words })
      loaded?.dispose()
    })
  }

  async release(): Promise<void> {
    this.words.dispose()
    await this.loader.release()
    await this.maker.release()
  }
}

const pairsOf = (words: number): number => Math.ceil(words / 2)

/** Each slot's words, two and two as one integer; a slot begins with an integer of its own. */
function pairs({ slots, slotWords, words }: Bank): Uint32Array<ArrayBuffer> {
  const stride = 2 * pairsOf(slotWords)
  if (stride === slotWords) return new Uint32Array(words.buffer)
  const padded = new Uint16Array(slots * stride)
  for (let slot = 0; slot < slots; slot++)
    padded.set(words.subarray(slot * slotWords, (slot + 1) * slotWords), slot * stride)
  return new Uint32Array(padded.buffer)
}

/** Output: `bank`, zeros. They are made on the device of an input, for a constant would be uploaded. */
function emptyBank({ slots, layers, maskBytes }: BankShape): Graph {
  const g = new GraphBuilder()
  const zero = g.input('zero', 'float32', [1, 1, 1])
  return g.build([g.output('bank', expand(g, zero, [slots, layers, maskBytes]))])
}

/**
 * Output: `loaded`, the bank with the words of `fresh` in its `slots`. From end to end of operators that WebGPU has:
 * it shifts and masks no integers, but divides them; and it slices no integers, which is why words are float32.
 */
function loading({ slots, layers, maskBytes }: BankShape): Graph {
  const g = new GraphBuilder()
  const words = layers * maskBytes
  const bank = g.input('bank', 'float32', [slots, layers, maskBytes])
  const places = g.input('slots', 'int32', ['N', 1, 1])
  const fresh = g.input('fresh', 'uint32', ['N', pairsOf(words), 1])
  const base = g.constant('base', 'uint32', [], bytesOf(Uint32Array.of(2 ** 16)))
  const second = div(g, fresh, base)
  const first = sub(g, fresh, mul(g, second, base))
  const both = cast(g, concat(g, [first, second], 2, 2), 'float32')
  const flat = slice(g, reshape(g, both, ['N', 2 * pairsOf(words)]), 1, 0, words)
  const shape = ['N', layers, maskBytes]
  return g.build([g.output('loaded', scatter(g, bank, expand(g, places, shape), reshape(g, flat, shape)))])
}
