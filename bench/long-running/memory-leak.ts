// Whether a request leaves memory behind: very many of them to very many tasks, short and long texts, from one client to
// sixteen, and what the server holds once its garbage is collected.

import type { Benchmark, Figure } from '../support/figures.js'
import { mixedTexts, withDirectory } from '../support/material.js'
import { LoadProcess, ResidueProcess } from '../support/process.js'
import { registerTasks, taskId } from '../support/registered-tasks.js'
import type { Held } from './memory-leak-server.js'

const tasks = 1_000
const clientsInTurn = [1, 2, 4, 8, 16]
/** Caches are full and code is compiled after this share of the requests; each task is asked in it. */
const warmUpShare = 0.1
const requestsPerTurn = 500
/** One text of so many is as long as the model takes. No divisor of it divides the tasks: each gets long texts. */
const longEvery = 199
const longWords = 600
/** Several times, so that the figure shows whether memory grows or was taken once. */
const looks = 9

export const residue =
  (requests: number): Benchmark =>
  (say) =>
    withDirectory(async (directory) => {
      await registerTasks(directory, tasks, ['sst2', 'trec', 'cola'], say)
      const server = new ResidueProcess()
      const url = (await server.run({ start: directory })) as string
      const load = new LoadProcess()
      const collect = async () => (await server.run({ collect: true })) as Held
      const short = mixedTexts()
        .map(({ text }) => text)
        .filter((text) => text.length < 80)
      const send = requestsFrom(short)

      let [sent, turn] = [0, 0]
      const sendUntil = async (end: number) => {
        for (; sent < end; turn++) {
          const amount = Math.min(requestsPerTurn, end - sent)
          const clients = clientsInTurn[turn % clientsInTurn.length] ?? 1
          await load.run({ url, clients, requests: send(sent, amount), amount })
          sent += amount
        }
      }
      const start = Math.max(tasks, Math.round(warmUpShare * requests))
      await sendUntil(start)
      const held = [await collect()]
      for (let look = 1; look <= looks; look++) {
        await sendUntil(start + Math.round((look * (requests - start)) / looks))
        const found = await collect()
        held.push(found)
        say(`residue: ${sent} of ${requests} requests: ${inMegabytes(found)}`)
      }
      load.stop()
      await server.run({ stop: true })
      server.stop()
      return [growthOf(held, sent - start)]
    })

/** Requests by their number: every task in its turn, every text, and now and then a long one. */
const requestsFrom = (short: readonly string[]) => (first: number, amount: number) =>
  Array.from({ length: amount }, (_, index) => {
    const number = first + index
    const text =
      number % longEvery === longEvery - 1 ? `word${number} `.repeat(longWords) : `${short[number % short.length]}`
    return { path: `/tasks/${taskId(number % tasks)}/predict`, body: JSON.stringify({ inputs: text, top_k: 1 }) }
  })

const MB = 1e6
const inMegabytes = ({ heap, external, resident }: Held) =>
  `${(heap / MB).toFixed(1)} MB heap, ${(external / MB).toFixed(1)} external, ${(resident / MB).toFixed(0)} resident`

function growthOf(held: readonly Held[], requests: number): Figure {
  const [first, last] = [held[0], held.at(-1)]
  if (first === undefined || last === undefined) throw new Error('memory was not looked at')
  const grown = (by: (each: Held) => number) => (by(last) - by(first)) / MB
  const both = ({ heap, external }: Held) => heap + external
  const since = held.slice(1).map((each) => (both(each) - both(first)) / MB)
  return {
    what: `${requests} requests over ${tasks} tasks, short and long texts, ${clientsInTurn.join(', ')} clients: growth of heap and external memory after collection`,
    unit: 'MB',
    value: grown(both),
    spread: [Math.min(...since), Math.max(...since)],
    repeats: since.length,
    target: { atMost: 5 },
    notes: {
      'heap MB': grown(({ heap }) => heap),
      'external MB': grown(({ external }) => external),
      'resident MB': grown(({ resident }) => resident),
      'bytes a request': (grown(both) * MB) / requests,
      before: inMegabytes(first),
    },
  }
}
