// The same training step here and in PyTorch's eager mode, in alternation.

import type { Benchmark } from '../support/figures.js'
import { modelDir } from '../support/material.js'
import { openStep } from '../training/training-step.js'
import { againstPyTorch, startPyTorch } from './pytorch-peer.js'

const schedule = { rounds: 12, runsPerRound: 5 }

/** @param python an interpreter with bench/peers/requirements.txt installed */
export const trainingStepAgainstPyTorch =
  (python: string): Benchmark =>
  async (log) => {
    const peer = await startPyTorch(python, 'training_step.py', [modelDir])
    const version = peer.ready.join()
    log(version)
    const ours = await openStep()
    const compared = await againstPyTorch(peer, ours.step, schedule)
    peer.close()
    await ours.release()
    return [
      {
        name: `Training step, 32 examples × 32 tokens: time of ${version} against ours`,
        unit: '×',
        ...compared,
        target: { atLeast: 1 },
      },
    ]
  }
