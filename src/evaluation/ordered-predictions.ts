// Predicts for a stream of items of any length and returns the results in order, with bounded memory. It reads a window of
// items, sorts it by length so that texts of one batch have similar lengths, and predicts the next window meanwhile.

import type { Text } from '../backbones/tokenizer.js'
import type { ScoreOptions } from '../tasks/heads.js'
import type { Prediction } from '../tasks/predictions.js'
import type { OpenedTask } from './opened-task.js'

export interface ItemWork<Item, Result> extends ScoreOptions {
  /** The texts to predict for an item; none if it gets no prediction. */
  readonly textsOf: (item: Item) => readonly Text[]
  /** The size of an item in memory, in characters. */
  readonly sizeOf: (item: Item) => number
  /** Called as soon as the predictions of an item are there: a result should be smaller than they are. */
  readonly resultOf: (item: Item, predictions: readonly Prediction[]) => Result
  /** Receives the number of items that were predicted since the last call. */
  readonly onPredicted?: (items: number) => void
}

/** Bounds of a window. Two windows are in memory at a time. */
const maxWindowItems = 4096
const maxWindowCharacters = 8_000_000

/** @throws Problem; the reason of the signal */
export async function* predictInOrder<Item, Result>(
  task: OpenedTask,
  items: AsyncIterable<Item>,
  work: ItemWork<Item, Result>,
  signal?: AbortSignal,
): AsyncGenerator<Result> {
  const failure = new AbortController()
  const stop = signal ? AbortSignal.any([signal, failure.signal]) : failure.signal
  const limited = limitConcurrency(task.concurrency)

  const predictEntries = async (entries: readonly Entry<Item>[]): Promise<readonly Placed<Result>[]> => {
    stop.throwIfAborted()
    const texts = entries.flatMap(({ texts }) => texts)
    const predictions = texts.length === 0 ? [] : await task.predict(texts, work, stop)
    let first = 0
    const results = entries.map(({ item, at, texts }) => {
      const end = first + texts.length
      const result = work.resultOf(item, predictions.slice(first, end))
      first = end
      return { at, result }
    })
    work.onPredicted?.(entries.length)
    return results
  }

  const predictWindow = async (window: readonly Item[]): Promise<readonly Result[]> => {
    const calls = callsOf(entriesOf(window, work.textsOf), task)
    const found = await Promise.all(calls.map((entries) => limited(() => predictEntries(entries))))
    return found
      .flat()
      .sort((a, b) => a.at - b.at)
      .map(({ result }) => result)
  }

  let running: Promise<readonly Result[]> | undefined
  try {
    for await (const window of windowsOf(items, work.sizeOf)) {
      stop.throwIfAborted()
      const next = predictWindow(window)
      // It is awaited later; until then its error is not unhandled.
      next.catch(() => {})
      const done = running
      running = next
      if (done) yield* await done
    }
    if (running) yield* await running
    running = undefined
  } finally {
    failure.abort()
    await running?.catch(() => {})
  }
}

async function* windowsOf<Item>(
  items: AsyncIterable<Item>,
  sizeOf: (item: Item) => number,
): AsyncGenerator<readonly Item[]> {
  let window: Item[] = []
  let characters = 0
  for await (const item of items) {
    window.push(item)
    characters += sizeOf(item)
    if (window.length < maxWindowItems && characters < maxWindowCharacters) continue
    yield window
    window = []
    characters = 0
  }
  if (window.length > 0) yield window
}

/** An item of a window. */
interface Entry<Item> {
  readonly item: Item
  /** Position in the window. */
  readonly at: number
  readonly texts: readonly Text[]
  readonly characters: number
}

interface Placed<Result> {
  readonly at: number
  readonly result: Result
}

const entriesOf = <Item>(window: readonly Item[], textsOf: (item: Item) => readonly Text[]): Entry<Item>[] =>
  window.map((item, at) => {
    const texts = textsOf(item)
    const characters = texts.reduce((sum, { text, textPair = '' }) => sum + text.length + textPair.length, 0)
    return { item, at, texts, characters }
  })

/** Divides a window into calls of texts with similar lengths. */
function callsOf<Item>(entries: Entry<Item>[], { maxTexts, maxCharacters }: OpenedTask): Entry<Item>[][] {
  const calls: Entry<Item>[][] = []
  let call: Entry<Item>[] = []
  let [texts, characters] = [0, 0]
  for (const entry of entries.sort((a, b) => a.characters - b.characters)) {
    texts += entry.texts.length
    characters += entry.characters
    if (call.length === 0 || texts > maxTexts || characters > maxCharacters) {
      call = []
      calls.push(call)
      texts = entry.texts.length
      characters = entry.characters
    }
    call.push(entry)
  }
  return calls
}

/** Returns a function that runs jobs in order, at most `most` at a time. */
function limitConcurrency(most: number): <T>(job: () => Promise<T>) => Promise<T> {
  let running = 0
  const waiting: (() => void)[] = []
  return async (job) => {
    if (running < most) running++
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await job()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}
