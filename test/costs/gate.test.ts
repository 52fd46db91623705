import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Gate } from '../../src/costs/gate.js'

/** Work that the test ends, and a record of the order in which work starts. */
function controlledWork(gate: Gate) {
  const started: string[] = []
  const ends = new Map<string, () => void>()
  const enter = (owner: string, name: string, amount: number, signal?: AbortSignal) =>
    gate.pass(
      owner,
      amount,
      async () => {
        started.push(name)
        await new Promise<void>((end) => ends.set(name, end))
        return name
      },
      signal,
    )
  const end = async (name: string) => {
    ends.get(name)?.()
    await new Promise(setImmediate)
  }
  return { started, enter, end }
}

describe('a gate', () => {
  test('gives one owner half of it at a time, and the next owner the other half', async () => {
    const gate = new Gate(100)
    const { started, enter, end } = controlledWork(gate)
    const all = [enter('a', 'a1', 50), enter('a', 'a2', 50), enter('b', 'b1', 20), enter('b', 'b2', 20)]
    assert.deepEqual(started, ['a1', 'b1', 'b2'])
    assert.equal(gate.amount, 90)
    await end('b1')
    assert.deepEqual(started, ['a1', 'b1', 'b2'])
    await end('a1')
    assert.deepEqual(started, ['a1', 'b1', 'b2', 'a2'])
    await end('a2')
    await end('b2')
    assert.deepEqual(await Promise.all(all), ['a1', 'a2', 'b1', 'b2'])
    assert.equal(gate.amount, 0)
  })

  test('lets owners take turns, instead of running work in order of arrival', async () => {
    const { started, enter, end } = controlledWork(new Gate(100))
    for (const name of ['a1', 'a2', 'a3']) void enter('a', name, 50)
    void enter('b', 'b1', 50)
    void enter('c', 'c1', 50)
    void enter('c', 'c2', 50)
    assert.deepEqual(started, ['a1', 'b1'])
    await end('a1')
    await end('b1')
    assert.deepEqual(started, ['a1', 'b1', 'a2', 'c1'])
    await end('a2')
    await end('c1')
    assert.deepEqual(started, ['a1', 'b1', 'a2', 'c1', 'a3', 'c2'])
  })

  test('lets no work overtake work that waits for room, so that large work does not starve', async () => {
    const { started, enter, end } = controlledWork(new Gate(100))
    void enter('a', 'a1', 40)
    void enter('b', 'b1', 40)
    void enter('c', 'large', 50)
    void enter('d', 'small', 50)
    assert.deepEqual(started, ['a1', 'b1'])
    await end('a1')
    assert.deepEqual(started, ['a1', 'b1', 'large'])
    await end('b1')
    assert.deepEqual(started, ['a1', 'b1', 'large', 'small'])
  })

  test('counts work that is larger than half of the gate as half, so that it can run', async () => {
    const { started, enter, end } = controlledWork(new Gate(100))
    void enter('a', 'huge', 1_000)
    void enter('b', 'b1', 50)
    assert.deepEqual(started, ['huge', 'b1'])
    await end('huge')
    await end('b1')
  })

  test('does not run work of a client that disconnected while waiting, and continues after work that fails', async () => {
    const gate = new Gate(100)
    const { started, enter, end } = controlledWork(gate)
    void enter('a', 'a1', 50)
    const client = new AbortController()
    const waiting = enter('a', 'a2', 50, client.signal)
    const failing = gate.pass('a', 50, () => Promise.reject(new Error('broken')))
    const last = enter('a', 'a3', 50)
    client.abort()
    const [problem, failure] = [waiting.catch((error) => error), failing.catch((error) => error)]
    await end('a1')
    assert.equal((await problem).code, 'client_closed_request')
    assert.equal((await failure).message, 'broken')
    assert.deepEqual(started, ['a1', 'a3'])
    await end('a3')
    await last
    assert.equal(gate.amount, 0)
  })
})
