// Training on every family: compares the gradients of a training graph with central differences of its loss, along the
// gradient of each parameter. families.test.ts shows that the forward pass is correct.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readBackbone } from '../../src/backbones/backbone.js'
import type { Pooling } from '../../src/backbones/pooling.js'
import { poolInputs, targetInputs, textInputs } from '../../src/learn/batches.js'
import { headParameters, type ModulePlan, moduleParameters } from '../../src/learn/plan.js'
import { trainingGraph } from '../../src/learn/training-graph.js'
import type { ModuleConfig } from '../../src/petl/kinds.js'
import { elementCount } from '../../src/petl/module.js'
import { GraphSession } from '../../src/runtime/graph-session.js'
import { packRows } from '../../src/runtime/packed-rows.js'
import { directoryOf, expectedRows, tinyBackbones, wave } from './tiny.js'

const adapter = { kind: 'adapter', bottleneck: 4, activation: 'tanh', scaling: 1 } as const
const modules: ModuleConfig[] = [adapter, { kind: 'lora', rank: 3, alpha: 5 }, { kind: 'prefix', length: 2 }]

const cases: [string, ModuleConfig, Pooling][] = [
  ...tinyBackbones.flatMap((name) =>
    (name === 'mpnet' || name === 'modernbert' ? modules : [adapter]).map((config): [string, ModuleConfig, Pooling] => [
      name,
      config,
      'mean',
    ]),
  ),
  ['bert', adapter, 'max'],
  ['bert', adapter, 'last'],
]
for (const [name, config, pooling] of cases)
  test(`gradients of ${config.kind} on a tiny ${name} with the pooling ${pooling} agree with central differences`, async () => {
    const backbone = await readBackbone(directoryOf(name))
    const { layers, hiddenSize: H } = backbone.dims
    const plan: ModulePlan = { kind: 'plain', config, weights: 'trained' }
    const graph = trainingGraph(backbone, plan, { mode: 'train', problem: 'regression', head: 'linear' }, pooling)
    const session = await GraphSession.open(graph, { directory: backbone.weightsFolder, threads: 1 })
    const rows = expectedRows(name)
      .slice(1, 4)
      .map(({ inputIds, tokenTypeIds }) => ({ inputIds, tokenTypeIds, pooling }))
    const packed = packRows(rows)
    const parameters = [...moduleParameters(plan, layers, H), ...headParameters(1, H, 'linear')]
    const point = parameters.map(({ shape }, seed) => wave(elementCount(shape), seed))
    const at = (values: readonly Float32Array[]) =>
      session.run({
        ...textInputs(packed),
        ...(pooling !== 'max' && poolInputs(packed)),
        ...targetInputs(Float32Array.of(1, -1, 0), new Float32Array(rows.length).fill(1 / rows.length)),
        ...Object.fromEntries(
          parameters.map(({ name, shape }, p) => [name, { shape, data: values[p] ?? assert.fail() }]),
        ),
      })
    const exact = await at(point)
    for (const [p, parameter] of parameters.entries()) {
      const gradient = exact.get(`${parameter.name}.grad`) ?? assert.fail(`no gradient of ${parameter.name}`)
      const size = Math.hypot(...gradient)
      // The slope of the loss along its gradient is the length of the gradient.
      const lossAt = async (step: number) => {
        const moved = point.map((values, q) =>
          q === p ? values.map((value, i) => value + (step * (gradient[i] ?? 0)) / size) : values,
        )
        return (await at(moved)).get('loss')?.[0] ?? Number.NaN
      }
      const step = 2 ** -8
      const near = (await lossAt(step)) - (await lossAt(-step))
      const far = (await lossAt(2 * step)) - (await lossAt(-2 * step))
      const slope = (8 * near - far) / (12 * step)
      assert.ok(
        Math.abs(slope - size) < 5e-3 * size + 1e-3,
        `${parameter.name}: gradient of length ${size}, slope ${slope}`,
      )
    }
    await session.release()
  })
