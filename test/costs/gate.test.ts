import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Gate } from '../../src/costs/gate.js'

/** Work that ends when it is told to, and notes when it begins. */
function workshop(gate: Gate) {
  const begun: string[] = []
  const ends = new Map<string, () => void>()
  const enter = (owner: string, name: string, amount: number, signal?: AbortSignal) =>
    gate.pass(
      owner,
      amount,
      async () => {
        begun.push(name)
        await new Promise<void>((end) => ends.set(name, end))
        return name
      },
      signal,
    )
  const end = async (name: string) => {
    ends.get(name)?.()
    await new Promise(setImmediate)
  }
  return { begun, enter, end }
}

describe('a gate', () => {
  test('lets an owner have half of it at one time, and the next owner the other half', async () => {
    const gate = new Gate(100)
    const { begun, enter, end } = workshop(gate)
    const all = [enter('a', 'a1', 50), enter('a', 'a2', 50), enter('b', 'b1', 20), enter('b', 'b2', 20)]
    assert.deepEqual(begun, ['a1', 'b1', 'b2'])
    assert.equal(gate.amount, 90)
    await end('b1')
    assert.deepEqual(begun, ['a1', 'b1', 'b2'])
    await end('a1')
    assert.deepEqual(begun, ['a1', 'b1', 'b2', 'a2'])
    await end('a2')
    await end('b2')
    assert.deepEqual(await Promise.all(all), ['a1', 'a2', 'b1', 'b2'])
    assert.equal(gate.amount, 0)
  })

  test('takes owners in turn, not in the order in which their work came', async () => {
    const { begun, enter, end } = workshop(new Gate(100))
    for (const name of ['a1', 'a2', 'a3']) void enter('a', name, 50)
    void enter('b', 'b1', 50)
    void enter('c', 'c1', 50)
    void enter('c', 'c2', 50)
    assert.deepEqual(begun, ['a1', 'b1'])
    await end('a1')
    await end('b1')
    assert.deepEqual(begun, ['a1', 'b1', 'a2', 'c1'])
    await end('a2')
    await end('c1')
    assert.deepEqual(begun, ['a1', 'b1', 'a2', 'c1', 'a3', 'c2'])
  })

  test('lets nobody pass the one that waits for room, so that large work has its turn', async () => {
    const { begun, enter, end } = workshop(new Gate(100))
    void enter('a', 'a1', 40)
    void enter('b', 'b1', 40)
    void enter('c', 'large', 50)
    void enter('d', 'small', 50)
    assert.deepEqual(begun, ['a1', 'b1'])
    await end('a1')
    assert.deepEqual(begun, ['a1', 'b1', 'large'])
    await end('b1')
    assert.deepEqual(begun, ['a1', 'b1', 'large', 'small'])
  })

  test('counts work that is larger than half of it as half, so that it has its turn', async () => {
    const { begun, enter, end } = workshop(new Gate(100))
    void enter('a', 'huge', 1_000)
    void enter('b', 'b1', 50)
    assert.deepEqual(begun, ['huge', 'b1'])
    await end('huge')
    await end('b1')
  })

  test('does no work for a client that left while it waited, and goes on after work that fails', async () => {
    const gate = new Gate(100)
    const { begun, enter, end } = workshop(gate)
    void enter('a', 'a1', 50)
    const left = new AbortController()
    const waiting = enter('a', 'a2', 50, left.signal)
    const failing = gate.pass('a', 50, () => Promise.reject(new Error('broken')))
    const last = enter('a', 'a3', 50)
    left.abort()
    const [problem, failure] = [waiting.catch((error) => error), failing.catch((error) => error)]
    await end('a1')
    assert.equal((await problem).code, 'client_closed_request')
    assert.equal((await failure).message, 'broken')
    assert.deepEqual(begun, ['a1', 'a3'])
    await end('a3')
    await last
    assert.equal(gate.amount, 0)
  })
})
