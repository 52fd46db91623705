// The same learning step here and in PyTorch's eager mode, in turns.

import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Benchmark, inTurns, median, summary } from '../support/figures.js'
import { modelDir } from '../support/material.js'
import { openStep } from '../training/training-step.js'

const script = fileURLToPath(new URL('../../../bench/peers/learning_step.py', import.meta.url))
const repeats = 12
/** Learning makes one step after another: a turn is a step that warms up, and the mean of so many more. */
const stepsOfTurn = 5
/** Threads of either side may spin for a while after their work: the other waits until they sleep. */
const settleMs = 300

/** @param python an interpreter with bench/peers/requirements.txt installed */
export const learningStepAgainstPyTorch =
  (python: string): Benchmark =>
  async (say) => {
    const peer = spawn(python, [script, modelDir], { stdio: ['pipe', 'pipe', 'inherit'] })
    const lines = createInterface({ input: peer.stdout })[Symbol.asyncIterator]()
    const failure = failed(peer)
    const next = async () => {
      const { value, done } = await Promise.race([lines.next(), failure])
      if (done) throw new Error(`${python} ${script} ended before it answered`)
      return value
    }
    const version = await next()
    say(version)
    const ours = await openStep()
    const turn = async (step: () => Promise<number>) => {
      await pause(settleMs)
      await step()
      let ms = 0
      for (let i = 0; i < stepsOfTurn; i++) ms += await step()
      return ms / stepsOfTurn
    }
    const turns = await inTurns(
      repeats,
      () =>
        turn(async () => {
          peer.stdin.write('step\n')
          return Number(await next())
        }),
      () => turn(ours.step),
    )
    peer.stdin.end()
    await ours.release()
    return [
      {
        what: `one learning step, 32 rows × 32 tokens, against ${version}: its time over ours`,
        unit: '×',
        ...summary(turns.ratios),
        target: { atLeast: 1.2 },
        notes: { 'PyTorch ms': median(turns.a), 'ours ms': median(turns.b) },
      },
    ]
  }

const failed = (peer: ChildProcess): Promise<never> =>
  new Promise((_, reject) => {
    peer.once('error', reject)
  })
