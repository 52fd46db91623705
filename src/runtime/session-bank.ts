// The bank as a session feeds it to its graph: from the memory of the host, or on the device.

import { type InferenceSession, Tensor } from 'onnxruntime-node'
import { Bank, type Loads } from './bank.js'
import { type BankShape, DeviceBank } from './device-bank.js'
import { PinnedMemory } from './pinned-memory.js'
import { type Provider, providers } from './providers.js'
import type { GraphTraits } from './serving-graph.js'

export interface SessionBank {
  load(loads: Loads): Promise<void>
  /** Whether the bank holds all planes of the masks in these slots; see Bank.holdsAll. */
  holdsAll(slots: Int32Array): boolean
  /** The inputs `bank` and `row_slots` of rows with these slots. */
  feeds(slots: Int32Array<ArrayBuffer>): InferenceSession.FeedsType
  release(): Promise<void>
}

/**
 * @param word element type of the bank
 * @throws UnsuitableDevice if the bank does not fit into the device's memory
 */
export async function openBank(provider: Provider, shape: BankShape, word: GraphTraits['bank']): Promise<SessionBank> {
  const place = providers[provider].bank
  if (place !== 'device') {
    if (word === 'float32') throw new Error('a bank on the host has no float32 words')
    const memory = place === 'used' ? await PinnedMemory.open() : undefined
    const allocate = (bytes: number) => memory?.allocate(bytes) ?? new ArrayBuffer(bytes)
    return hostBank(new Bank(shape.slots, shape.layers, shape.maskBytes, word, allocate), place, memory)
  }
  const bank = await DeviceBank.open(provider, shape)
  return {
    load: (loads) => bank.load(loads),
    holdsAll: () => true,
    feeds: (slots) => ({ bank: bank.words, row_slots: rowSlots(slots) }),
    release: () => bank.release(),
  }
}

const hostBank = (bank: Bank, fed: 'whole' | 'used', memory: PinnedMemory | undefined): SessionBank => ({
  load: async (loads) => bank.load(loads),
  holdsAll: (slots) => bank.holdsAll(slots),
  feeds: (slots) => {
    const used = fed === 'used' ? bank.compact(slots) : { words: bank.words, slots, count: bank.slots }
    const words = new Tensor(bank.word, used.words, [used.count, bank.layers, bank.maskBytes])
    return { bank: words, row_slots: rowSlots(used.slots) }
  },
  release: async () => memory?.release(),
})

const rowSlots = (slots: Int32Array<ArrayBuffer>): Tensor => new Tensor('int32', slots, [slots.length])
