// Learning inside the server: the time until posted examples are a live task, and what a job costs predictions.

import { alternate, type Benchmark, type Figure, median, summary } from '../support/figures.js'
import { ClosedLoopProcess } from '../support/forked-script.js'
import { mixedTexts, withTemporaryDirectory } from '../support/material.js'
import { startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'
import { LearningClient, tickets } from './learning-client.js'

const tasks = 3
const clients = 16
const rounds = 6
/** A round is shorter than the training of a job. */
const requestsPerRound = 2_000

export const learning: Benchmark = (log) =>
  withTemporaryDirectory(async (directory) => {
    const server = await startServerProcess(directory)
    const client = new LearningClient(server.url)
    const [heads, finals, scores]: [number[], number[], number[]] = [[], [], []]
    for (let count = 1; count <= tasks; count++) {
      const task = `tickets-${count}`
      const start = performance.now()
      await client.post(task, tickets)
      const { id } = await client.learn(task)
      await client.untilLive(task)
      heads.push((performance.now() - start) / 1000)
      const { score = Number.NaN } = await client.until(id, ({ state }) => state === 'succeeded')
      finals.push((performance.now() - start) / 1000)
      scores.push(score)
      log(`learning: task ${count} of ${tasks}`)
    }

    const load = new ClosedLoopProcess()
    const requests = predictRequests(mixedTexts())
    const tails = { with: [] as number[], without: [] as number[] }
    const measure = async (side: keyof typeof tails) => {
      const { perSecond, p99Ms } = await load.run({ url: server.url, clients, requests, count: requestsPerRound })
      tails[side].push(p99Ms)
      return perSecond
    }
    await load.run({ url: server.url, clients, requests, count: clients * 8 })
    const whileLearning = async () => {
      const { id } = await client.learn('tickets-1', { activate: 'never' })
      await client.until(id, ({ phase }) => phase === 'training')
      const perSecond = await measure('with')
      const { state } = await client.job(id)
      if (state !== 'running') log(`learning: the job ended before the round did (${state})`)
      await client.cancel(id)
      return perSecond
    }
    const throughput = await alternate(
      rounds,
      whileLearning,
      () => measure('without'),
      (round) => log(`learning: round ${round} of ${rounds}`),
    )
    load.stop()
    await server.stop()
    const live = (name: string, values: readonly number[], atMost: number, notes: Figure['notes'] = {}): Figure => ({
      name: `200 examples of four labels posted: seconds until ${name}`,
      unit: 's',
      ...summary(values),
      target: { atMost },
      notes,
    })
    return [
      live('a head alone is live', heads, 5),
      live('the final version is live', finals, 60, { score: median(scores) }),
      {
        name: `Throughput of predictions while a job learns, ${clients} clients, against without`,
        unit: '×',
        ...summary(throughput.ratios),
        target: { atLeast: 0.7 },
        notes: { 'texts/s while a job learns': median(throughput.a), 'texts/s without': median(throughput.b) },
      },
      {
        name: `p99 of predictions while a job learns, ${clients} clients, against without`,
        unit: '×',
        ...summary(tails.with.map((each, round) => each / (tails.without[round] ?? Number.NaN))),
        target: { atMost: 2 },
        notes: { 'p99 ms while a job learns': median(tails.with), 'p99 ms without': median(tails.without) },
      },
    ]
  })
