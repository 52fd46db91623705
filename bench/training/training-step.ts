// One training step (forward, backward, update) on 32 examples × 32 tokens, against the forward pass alone.

import { type ModulePlan, moduleParameters } from '../../src/learn/plan.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import { Random } from '../../src/learn/random.js'
import { initialHead, initialModule } from '../../src/learn/tensors.js'
import { Trainer } from '../../src/learn/trainer.js'
import { alternate, type Benchmark, median, summary } from '../support/figures.js'
import { loadModel } from '../support/material.js'

const examples = 32
const length = 32
const rounds = 30

export interface StepTimes {
  /** Runs one step. @returns milliseconds */
  readonly step: () => Promise<number>
  /** Runs the forward pass alone. @returns milliseconds */
  readonly forward: () => Promise<number>
  readonly release: () => Promise<void>
}

/** Single-task PROPETL: trains prototype and layer masks on the same batch repeatedly. Both sides are warm. */
export async function openStep(): Promise<StepTimes> {
  const { backbone, prototype } = await loadModel()
  const { layers, hiddenSize: H, vocabulary } = backbone.dims
  const masks = { kind: 'layer', layer: 'trained' } as const
  const plan: ModulePlan = { kind: 'prototype', config: prototype.module, weights: 'trained', masks }
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
  const batch = Array.from({ length: examples }, () => ({ texts: [text()] }))
  const classes = Float32Array.from({ length: examples }, () => random.below(space.labels.length))
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

export const trainingStep: Benchmark = async () => {
  const { step, forward, release } = await openStep()
  const { a, b, ratios } = await alternate(rounds, step, forward)
  await release()
  return [
    {
      name: 'Training step, 32 examples × 32 tokens: time against the forward pass alone',
      unit: '×',
      ...summary(ratios),
      target: { atMost: 3 },
      notes: { 'step ms': median(a), 'forward ms': median(b) },
    },
  ]
}
