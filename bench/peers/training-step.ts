// The same training step here and in PyTorch's eager mode, in alternation.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { alternate, type Benchmark, median, summary } from '../support/figures.js'
import { modelDir } from '../support/material.js'
import { openStep } from '../training/training-step.js'

const script = fileURLToPath(new URL('../../../bench/peers/training_step.py', import.meta.url))
const rounds = 12
/** A round is one warm-up step, and the mean of this number of further steps. */
const stepsPerRound = 5
/** Threads of a side may spin for a while after their work. The other side waits until they sleep. */
const settleMs = 300

/** @param python an interpreter with bench/peers/requirements.txt installed */
export const trainingStepAgainstPyTorch =
  (python: string): Benchmark =>
  async (log) => {
    const peer = spawn(python, [script, modelDir], { stdio: ['pipe', 'pipe', 'inherit'] })
    const lines = createInterface({ input: peer.stdout })[Symbol.asyncIterator]()
    const failure = new Promise<never>((_, reject) => {
      peer.once('error', reject)
    })
    const next = async () => {
      const { value, done } = await Promise.race([lines.next(), failure])
      if (done) throw new Error(`${python} ${script} exited before it responded`)
      return value
    }
    const version = await next()
    log(version)
    const ours = await openStep()
    const round = async (step: () => Promise<number>) => {
      await pause(settleMs)
      await step()
      let ms = 0
      for (let i = 0; i < stepsPerRound; i++) ms += await step()
      return ms / stepsPerRound
    }
    const { a, b, ratios } = await alternate(
      rounds,
      () =>
        round(async () => {
          peer.stdin.write('step\n')
          return Number(await next())
        }),
      () => round(ours.step),
    )
    peer.stdin.end()
    await ours.release()
    return [
      {
        name: `Training step, 32 examples × 32 tokens: time of ${version} against ours`,
        unit: '×',
        ...summary(ratios),
        target: { atLeast: 1.2 },
        notes: { 'PyTorch ms': median(a), 'our ms': median(b) },
      },
    ]
  }
