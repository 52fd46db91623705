// kill -9 of a server at random moments of a job. After the restart, the job must end, with one version of each stage, and
// every example that was acknowledged must be there.

import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { type Benchmark, once as measuredOnce } from '../support/figures.js'
import { withTemporaryDirectory } from '../support/material.js'
import { startServerProcess } from '../support/process.js'
import { LearningClient, tickets } from './learning-client.js'

/** Examples of a job, so that it takes seconds. */
const lines = 60
/** Most seconds that a job trains. */
const budgetS = 5
/** A job is killed within this time after it was made, in milliseconds. It takes about as long. */
const withinMs = 15_000

const examples = Buffer.from(
  `${tickets
    .toString()
    .split('\n')
    .slice(0, lines + 1)
    .join('\n')}\n`,
)

export const learningKills =
  (kills: number): Benchmark =>
  (log) =>
    withTemporaryDirectory(async (directory) => {
      let [lost, twice, lostExamples, restarts] = [0, 0, 0, 0]
      let server = await startServerProcess(directory)
      for (let kill = 1; kill <= kills; kill++) {
        const task = `tickets-${kill}`
        const before = new LearningClient(server.url)
        const acknowledged = await before.post(task, examples)
        const { id } = await before.learn(task, { time_budget_s: budgetS })
        await delay(Math.random() * withinMs)
        const exit = once(server.process, 'exit')
        server.process.kill('SIGKILL')
        await exit
        server = await startServerProcess(directory)
        const after = new LearningClient(server.url)
        const ended = await after.until(id, ({ state }) => state === 'succeeded').catch((error: Error) => error)
        if (ended instanceof Error) {
          log(`learning-kills: ${ended.message}`)
          lost++
        } else if (ended.attempt > 1) restarts++
        const stages = (await after.stages(task)).filter(({ job }) => job === id).map(({ stage }) => stage)
        if (new Set(stages).size < stages.length) twice++
        lostExamples += acknowledged - (await after.examples(task))
        if (kill % 10 === 0) log(`learning-kills: ${kill} of ${kills} kills`)
      }
      await server.stop()
      return [
        {
          name: `Jobs lost or done twice after ${kills} kills of the server`,
          unit: '',
          ...measuredOnce(lost + twice),
          target: { atMost: 0 },
          notes: { lost, 'done twice': twice, 'interrupted while they ran': restarts },
        },
        {
          name: `Acknowledged examples lost after ${kills} kills of the server`,
          unit: '',
          ...measuredOnce(lostExamples),
          target: { atMost: 0 },
        },
      ]
    })
