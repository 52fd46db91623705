import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { calibrate } from '../../src/learn/calibration.js'
import { type HeadFold, selectPenalty } from '../../src/learn/head-selection.js'
import { LinearHeads } from '../../src/learn/linear-head.js'
import { crossEntropy } from '../../src/learn/losses.js'
import { Random } from '../../src/learn/random.js'

const [N, H, C] = [40, 40, 2]

/** Two classes, which the first component tells apart, among noise. */
const part = (seed: number): HeadFold['fitted'] => {
  const vectors = new Random(seed, 'vectors').normal(N * H, 1)
  for (let i = 0; i < N; i++) vectors[i * H] = (vectors[i * H] ?? 0) + 3 * (i % 2) - 1.5
  return {
    vectors,
    targets: Float32Array.from({ length: N * C }, (_, at) => (Math.floor(at / C) % 2 === at % C ? 1 : 0)),
    counted: new Float32Array(N).fill(1),
  }
}
const folds = [{ fitted: part(0), heldOut: part(1) }] as const
const never = new AbortController().signal
const heads = await LinearHeads.open(H, C, crossEntropy, 1)
after(() => heads.release())

const select = (signal = never, stop = never) =>
  selectPenalty(heads, 'single_label_classification', folds, { signal, stop })

test('selects a penalty with a lower held-out loss than the next stronger and the next weaker one', async () => {
  const losses = await Promise.all(
    [10, 3, 1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001].map(async (penalty) => {
      const { logits } = await heads.evaluate(await heads.fit(folds[0].fitted, penalty), folds[0].heldOut)
      const { loss } = calibrate('single_label_classification', {
        outputs: logits,
        targets: folds[0].heldOut.targets,
        width: C,
      })
      return { penalty, loss }
    }),
  )
  const selected = await select()
  const at = losses.findIndex(({ penalty }) => penalty === selected.penalty)
  const loss = (place: number) => losses[place]?.loss ?? Number.NaN
  assert.ok(Math.abs(selected.calibration.loss - loss(at)) < 1e-3)
  assert.ok(loss(at) < loss(at - 1) && loss(at) < loss(at + 1), `${selected.penalty} is no minimum`)
})

test('a stopped search selects from the penalties that it has tried', async () => {
  assert.equal((await select(never, AbortSignal.abort())).penalty, 10)
})

test('a search that ends before there is a head throws the reason', async () => {
  const reason = new Error('the user has changed their mind')
  await assert.rejects(select(AbortSignal.abort(reason), AbortSignal.abort(reason)), reason)
})
