import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import type { Text } from '../../src/backbones/tokenizer.js'
import type { OpenedTask } from '../../src/evaluation/opened-task.js'
import { predictInOrder } from '../../src/evaluation/ordered-predictions.js'
import { Problem } from '../../src/problem.js'

interface Item {
  readonly id: number
  readonly texts: readonly string[]
}

/** A task whose prediction is the length of a text, and that records its calls. */
function lengthTask(predict: (texts: readonly Text[], signal?: AbortSignal) => Promise<void> = async () => {}) {
  const calls: string[][] = []
  const running = { now: 0, most: 0 }
  const task: OpenedTask = {
    space: { problem: 'regression', labels: [] },
    takesPairs: true,
    metrics: {},
    maxTexts: 10,
    maxCharacters: 500,
    concurrency: 3,
    predict: async (texts, _, signal) => {
      calls.push(texts.map(({ text }) => text))
      running.most = Math.max(running.most, ++running.now)
      try {
        await predict(texts, signal)
      } finally {
        running.now--
      }
      return texts.map(({ text }) => ({ score: text.length }))
    },
    close: async () => {},
  }
  return { task, calls, running }
}

const work = {
  rawScores: false,
  textsOf: ({ texts }: Item) => texts.map((text) => ({ text })),
  sizeOf: ({ texts }: Item) => texts.join('').length,
  resultOf: ({ id }: Item, predictions: readonly unknown[]) => ({
    id,
    lengths: predictions.map((prediction) => (prediction as { score: number }).score),
  }),
}

async function* itemsOf(items: Iterable<Item>): AsyncGenerator<Item> {
  yield* items
}

describe('predictions in order', () => {
  test('match their items, whatever the lengths and numbers of texts, over several windows', async () => {
    const items = Array.from({ length: 9000 }, (_, id): Item => {
      const text = 'x'.repeat(1 + ((id * 7919) % 97))
      return { id, texts: id % 5 === 0 ? [] : id % 7 === 0 ? [text, `${text}y`] : [text] }
    })
    const { task, calls, running } = lengthTask(() => setTimeout(0))
    let predicted = 0
    const onPredicted = (more: number) => {
      predicted += more
    }
    const results = []
    for await (const result of predictInOrder(task, itemsOf(items), { ...work, onPredicted })) results.push(result)
    assert.deepEqual(
      results,
      items.map(({ id, texts }) => ({ id, lengths: texts.map((text) => text.length) })),
    )
    assert.equal(predicted, 9000)
    assert.equal(running.most, 3)
    for (const texts of calls) {
      assert.ok(texts.length <= 10)
      assert.ok(texts.join('').length <= 500)
    }
  })

  test('send texts of similar lengths together', async () => {
    const items = Array.from({ length: 1000 }, (_, id) => ({ id, texts: ['x'.repeat(1 + ((id * 7919) % 97))] }))
    const { task, calls } = lengthTask()
    for await (const _ of predictInOrder(task, itemsOf(items), work));
    for (const call of calls) {
      const lengths = call.map((text) => text.length)
      assert.ok(Math.max(...lengths) - Math.min(...lengths) <= 2)
    }
  })

  test('send a text that is longer than a call should be in a call of its own', async () => {
    const { task, calls } = lengthTask()
    const items = ['a', 'b'.repeat(501), 'c'].map((text, id) => ({ id, texts: [text] }))
    const results = []
    for await (const { lengths } of predictInOrder(task, itemsOf(items), work)) results.push(lengths[0])
    assert.deepEqual(results, [1, 501, 1])
    assert.deepEqual(calls.at(-1)?.length, 1)
  })

  test('read two windows at most before the first result is taken', async () => {
    let read = 0
    async function* endless(): AsyncGenerator<Item> {
      for (;;) yield { id: read++, texts: ['text'] }
    }
    const results = predictInOrder(lengthTask().task, endless(), work)
    await results.next()
    assert.equal(read, 2 * 4096)
    await results.return(undefined)
  })

  test('end with the error of a call, and cancel the other calls', async () => {
    let cancelled = 0
    const { task } = lengthTask(async ([first], signal) => {
      if (first?.text === 'bad') throw new Problem('server_failed', 'it failed')
      await setTimeout(60_000, undefined, signal && { signal }).catch(() => cancelled++)
    })
    const items = ['bad', ...Array<string>(25).fill('slow text')].map((text, id) => ({ id, texts: [text] }))
    const all = async () => {
      for await (const _ of predictInOrder(task, itemsOf(items), work));
    }
    await assert.rejects(all, /it failed/)
    assert.ok(cancelled > 0)
  })

  test('end with the reason of a signal', async () => {
    const stop = new AbortController()
    const { task } = lengthTask(async (_, signal) => {
      stop.abort(new Error('stopped'))
      signal?.throwIfAborted()
    })
    const all = async () => {
      for await (const _ of predictInOrder(task, itemsOf([{ id: 0, texts: ['a'] }]), work, stop.signal));
    }
    await assert.rejects(all, /stopped/)
  })
})
