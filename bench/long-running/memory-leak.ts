// Memory leaks per request: very many requests to very many tasks, with short and long texts from 1 to 16 clients, and the
// memory of the server after garbage collection.

import type { Benchmark, Figure } from '../support/figures.js'
import { ClosedLoopProcess, ForkedScript } from '../support/forked-script.js'
import { mixedTexts, withTemporaryDirectory } from '../support/material.js'
import { registerTasks, taskId } from '../support/registered-tasks.js'
import type { LeakServerMessage, MemoryUse } from './memory-leak-server.js'

const tasks = 1_000
const clientsOfRounds = [1, 2, 4, 8, 16]
/** After this share of the requests caches are full and code is compiled. Every task gets a request in it. */
const warmUpShare = 0.1
const requestsPerRound = 500
/** Every 199th text has the maximum length. 199 does not divide the number of tasks, so every task gets such texts. */
const longEvery = 199
const longWords = 600
/** Several measurements show whether memory keeps growing or grew once. */
const measurements = 9

export const memoryLeak =
  (requests: number): Benchmark =>
  (log) =>
    withTemporaryDirectory(async (directory) => {
      await registerTasks(directory, tasks, ['sst2', 'trec', 'cola'], log)
      const script = new URL('./memory-leak-server.js', import.meta.url)
      const server = new ForkedScript<LeakServerMessage, string | MemoryUse>(script, ['--expose-gc'])
      const url = (await server.run({ start: directory })) as string
      const load = new ClosedLoopProcess()
      const collect = async () => (await server.run({ collect: true })) as MemoryUse
      const shortTexts = mixedTexts()
        .map(({ text }) => text)
        .filter((text) => text.length < 80)
      const requestsFrom = requestSequence(shortTexts)

      let [sent, round] = [0, 0]
      const sendUntil = async (end: number) => {
        for (; sent < end; round++) {
          const count = Math.min(requestsPerRound, end - sent)
          const clients = clientsOfRounds[round % clientsOfRounds.length] ?? 1
          await load.run({ url, clients, requests: requestsFrom(sent, count), count })
          sent += count
        }
      }
      const warmUp = Math.max(tasks, Math.round(warmUpShare * requests))
      await sendUntil(warmUp)
      const measured = [await collect()]
      for (let measurement = 1; measurement <= measurements; measurement++) {
        await sendUntil(warmUp + Math.round((measurement * (requests - warmUp)) / measurements))
        const memory = await collect()
        measured.push(memory)
        log(`memory-leak: ${sent} of ${requests} requests: ${inMegabytes(memory)}`)
      }
      load.stop()
      await server.run({ stop: true })
      server.stop()
      return [growthFigure(measured, sent - warmUp)]
    })

/** `count` requests from number `first` on. They cycle through the tasks and texts, with a long text at intervals. */
const requestSequence = (shortTexts: readonly string[]) => (first: number, count: number) =>
  Array.from({ length: count }, (_, index) => {
    const number = first + index
    const text =
      number % longEvery === longEvery - 1
        ? `word${number} `.repeat(longWords)
        : `${shortTexts[number % shortTexts.length]}`
    return { path: `/tasks/${taskId(number % tasks)}/predict`, body: JSON.stringify({ inputs: text, top_k: 1 }) }
  })

const MB = 1e6
const inMegabytes = ({ heap, external, resident }: MemoryUse) =>
  `${(heap / MB).toFixed(1)} MB heap, ${(external / MB).toFixed(1)} MB external, ${(resident / MB).toFixed(0)} MB resident`

function growthFigure(measured: readonly MemoryUse[], requests: number): Figure {
  const [first, last] = [measured[0], measured.at(-1)]
  if (first === undefined || last === undefined) throw new Error('no memory was measured')
  const growth = (by: (memory: MemoryUse) => number) => (by(last) - by(first)) / MB
  const total = ({ heap, external }: MemoryUse) => heap + external
  const growths = measured.slice(1).map((memory) => (total(memory) - total(first)) / MB)
  return {
    name: `Memory leak: growth of heap and external memory over ${requests.toLocaleString('en')} requests to ${tasks.toLocaleString('en')} tasks`,
    unit: 'MB',
    value: growth(total),
    spread: [Math.min(...growths), Math.max(...growths)],
    repeats: growths.length,
    target: { atMost: 5 },
    notes: {
      'heap MB': growth(({ heap }) => heap),
      'external MB': growth(({ external }) => external),
      'resident MB': growth(({ resident }) => resident),
      'bytes per request': (growth(total) * MB) / requests,
      before: inMegabytes(first),
    },
  }
}
