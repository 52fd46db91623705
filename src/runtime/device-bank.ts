// The bank in the memory of a WebGPU device. It is created on the device and stays there. Only the bitsets of new masks are
// uploaded, as two bytes per eight mask entries, and the device converts them to words in their slots. All sessions of a
// process share the device, so the serving session reads the same buffer.

import { type InferenceSession, Tensor } from 'onnxruntime-node'
import { bytesOf, type Graph, GraphBuilder } from '../graph/graph.js'
import { cast, concat, div, expand, mul, reshape, scatter, slice, sub } from '../graph/operators.js'
import { Bank, type Loads } from './bank.js'
import { withDeviceLock } from './device-lock.js'
import { openDeviceSession } from './device-session.js'
import { UnsuitableDevice } from './provider-errors.js'
import type { Provider } from './providers.js'

export interface BankShape {
  readonly slots: number
  readonly layers: number
  readonly maskBytes: number
}

export class DeviceBank {
  private constructor(
    readonly shape: BankShape,
    /** float32 [slots, layers, ⌈n/8⌉]: each word as a number. */
    readonly words: Tensor,
    /** The session that created the bank and owns its memory. */
    readonly maker: InferenceSession,
    /** The session that loads bitsets into slots. */
    readonly loader: InferenceSession,
  ) {}

  /** @throws UnsuitableDevice if the bank does not fit into the device's memory */
  static async open(provider: Provider, shape: BankShape): Promise<DeviceBank> {
    const maker = await openDeviceSession(provider, emptyBank(shape), { preferredOutputLocation: 'gpu-buffer' })
    const loader = await openDeviceSession(provider, loading(shape))
    try {
      const { bank } = await maker.run({ zero: new Tensor('float32', Float32Array.of(0), [1, 1, 1]) })
      if (bank?.location !== 'gpu-buffer') throw new Error('onnxruntime did not keep the bank on the device')
      return new DeviceBank(shape, bank, maker, loader)
    } catch (error) {
      await maker.release()
      await loader.release()
      const { slots, layers, maskBytes } = shape
      const megabytes = Math.ceil((slots * layers * maskBytes * Float32Array.BYTES_PER_ELEMENT) / 1e6)
      const reason = (error as Error).message.split('\n')[0]
      throw new UnsuitableDevice(
        `its memory has no room for a bank of ${slots} slots (${megabytes} MB); configure fewer slots (${reason})`,
      )
    }
  }

  /** Loads bitsets, if there are any. Takes the device lock. */
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
    // The bank is input and output of the session: only the given slots change, and nothing is copied.
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

/** The words of each slot, two per integer. Each slot starts with a new integer. */
function pairs({ slots, slotWords, words }: Bank): Uint32Array<ArrayBuffer> {
  const stride = 2 * pairsOf(slotWords)
  if (stride === slotWords) return new Uint32Array(words.buffer)
  const padded = new Uint16Array(slots * stride)
  for (let slot = 0; slot < slots; slot++)
    padded.set(words.subarray(slot * slotWords, (slot + 1) * slotWords), slot * stride)
  return new Uint32Array(padded.buffer)
}

/** A graph with the output `bank`: zeros, expanded on the device from a small input. A constant would be uploaded. */
function emptyBank({ slots, layers, maskBytes }: BankShape): Graph {
  const g = new GraphBuilder()
  const zero = g.input('zero', 'float32', [1, 1, 1])
  return g.build([g.output('bank', expand(g, zero, [slots, layers, maskBytes]))])
}

/**
 * A graph with the output `loaded`: the bank with the words of `fresh` in `slots`. It uses only operators that onnxruntime
 * has for WebGPU. Integers cannot be shifted or masked there, so they are divided; and integers cannot be sliced, so the
 * words are float32.
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
