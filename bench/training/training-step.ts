// One learning step (forward, backward, update) on 32 rows of 32 tokens against the forward pass alone, in the same
// runtime.

import { type ModulePlan, moduleParameters } from '../../src/learn/plan.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import { Random } from '../../src/learn/random.js'
import { initialHead, initialModule } from '../../src/learn/tensors.js'
import { Trainer } from '../../src/learn/trainer.js'
import { type Benchmark, inTurns, median, summary } from '../support/figures.js'
import { loadModel } from '../support/material.js'

const rows = 32
const length = 32
const repeats = 30

export interface StepTimes {
  /** Milliseconds of one step. */
  readonly step: () => Promise<number>
  /** Milliseconds of the forward pass alone. */
  readonly forward: () => Promise<number>
  readonly release: () => Promise<void>
}

/** Single-task PROPETL, prototype and layer masks, on one batch again and again; both sides are warm. */
export async function openStep(): Promise<StepTimes> {
  const { backbone, prototype } = await loadModel()
  const { layers, hiddenSize: H, vocabulary } = backbone.dims
  const masks = { kind: 'layer', layer: 'learned' } as const
  const plan: ModulePlan = { kind: 'prototype', config: prototype.module, weights: 'learned', masks }
  const random = new Random(1, 'benchmark')
  const trainer = new Trainer(backbone, plan, initialModule(moduleParameters(plan, layers, H), prototype, random), {
    rates: { weights: 1e-4, scores: 1e-3, heads: 1e-3 },
    density: 0.5,
    weightDecay: 0.1,
    pooling: 'mean',
    threads: 0,
  })
  const problem = 'single_label_classification'
  const space = { problem, labels: ['no', 'yes'] } as const
  const task = { problem, head: 'linear', tensors: initialHead(space, H, 'linear', random) } as const
  const text = () => ({
    inputIds: Int32Array.from({ length }, () => random.below(vocabulary)),
    tokenTypeIds: new Uint8Array(length),
  })
  const batch = Array.from({ length: rows }, () => ({ texts: [text()] }))
  const classes = Float32Array.from({ length: rows }, () => random.below(space.labels.length))
  const targets = problemTraits[problem].lossTargets(space, classes)
  const time = async (work: () => Promise<unknown>) => {
    const start = performance.now()
    await work()
    return performance.now() - start
  }
  const step = () => time(() => trainer.step(task, batch, targets, 1))
  const forward = () => time(() => trainer.outputs(batch, task))
  for (const warmUp of [step, forward, step, forward]) await warmUp()
  return { step, forward, release: () => trainer.release() }
}

export const learningStep: Benchmark = async () => {
  const { step, forward, release } = await openStep()
  const turns = await inTurns(repeats, step, forward)
  await release()
  return [
    {
      what: 'one learning step, 32 rows × 32 tokens, time against the forward pass alone',
      unit: '×',
      ...summary(turns.ratios),
      target: { atMost: 3 },
      notes: { 'step ms': median(turns.a), 'forward ms': median(turns.b) },
    },
  ]
}
