import assert from 'node:assert/strict'
import { test } from 'node:test'
import { minimise } from '../../src/learn/lbfgs.js'
import { LinearHeads } from '../../src/learn/linear-head.js'
import { binaryCrossEntropy, crossEntropy, squaredError } from '../../src/learn/losses.js'

const [N, H, C] = [24, 4, 3]
const vectors = Float32Array.from({ length: N * H }, (_, at) => {
  const [i, j] = [Math.floor(at / H), at % H]
  return (((i * 7 + j * 13 + i * i * 3) % 17) - 8) / 4 + (i % 3 === j ? 0.8 : 0) + j * 0.5
})
const classes = Float32Array.from({ length: N * C }, (_, at) => (Math.floor(at / C) % C === at % C ? 1 : 0))
const counted = new Float32Array(N).fill(1)

/** Biases of softmax outputs are defined up to a common shift. */
const centred = (values: Float32Array) => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return Array.from(values, (value) => value - mean)
}

const near = (actual: ArrayLike<number>, expected: readonly number[], tolerance = 2e-3) => {
  for (const [i, value] of expected.entries())
    assert.ok(Math.abs((actual[i] ?? Number.NaN) - value) < tolerance, `${i}: ${actual[i]} instead of ${value}`)
}

test('finds the minimum of a curved valley', async () => {
  // Rosenbrock's function, whose minimum is at (1, 1).
  const { point, value } = await minimise(
    async ([x = 0, y = 0]) => ({
      value: (1 - x) ** 2 + 100 * (y - x * x) ** 2,
      gradient: Float64Array.of(-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)),
    }),
    Float64Array.of(-1.2, 1),
    { tolerance: 1e-8 },
  )
  near(point, [1, 1], 1e-6)
  assert.ok(value < 1e-12)
})

test('a head without weights predicts the frequencies of labels, also of rare ones', async () => {
  const heads = await LinearHeads.open(H, C, binaryCrossEntropy, 1)
  const targets = Float32Array.from({ length: N * C }, (_, at) => Number(at === 0 || (at % C === 1 && at % 2 === 0)))
  const { weight, bias } = await heads.fit({ vectors, targets, counted }, 1e6)
  await heads.release()
  near(weight, [...weight].fill(0), 1e-4)
  near(bias, [Math.log(1 / 23), 0], 1e-4)
  assert.ok((bias[2] ?? 0) < -9)
})

test('stops where the value cannot fall any further', async () => {
  const { point } = await minimise(
    async ([x = 0]) => ({ value: Math.abs(x), gradient: Float64Array.of(Math.sign(x) || 1) }),
    Float64Array.of(0.5),
  )
  near(point, [0], 1e-3)
})

test('a minimisation ends soon after its signal is aborted', async () => {
  const stop = new AbortController()
  let calls = 0
  const slope = async ([x = 0]: Float64Array) => {
    if (++calls === 3) stop.abort()
    return { value: Math.cosh(x), gradient: Float64Array.of(Math.sinh(x)) }
  }
  await assert.rejects(minimise(slope, Float64Array.of(20), { tolerance: 0, signal: stop.signal }), {
    name: 'AbortError',
  })
  assert.equal(calls, 3)
})

// The expected values are those of scikit-learn 1.x (LogisticRegression, Ridge) on the same vectors, centred and scaled.
test('fits the logistic regression of scikit-learn', async () => {
  const heads = await LinearHeads.open(H, C, crossEntropy, 1)
  const data = { vectors, targets: classes, counted }
  const strong = await heads.fit(data, 0.1)
  near(
    strong.weight,
    [0.1605, -0.2264, 0.1778, -0.1058, -0.1278, 0.5819, -0.6342, 0.1238, -0.0327, -0.3556, 0.4564, -0.018],
  )
  near(centred(strong.bias), [0.2554, -0.3676, 0.1122])
  assert.ok(Math.abs((await heads.evaluate(strong, data)).loss - 0.81498) < 1e-3)
  const weak = await heads.fit(data, 0.01, strong)
  near(
    weak.weight,
    [0.1588, -0.9687, 0.8488, -0.1374, -0.156, 2.0858, -2.1286, 0.1235, -0.0028, -1.117, 1.2798, 0.0139],
    2e-2,
  )
  assert.ok(Math.abs((await heads.evaluate(weak, data)).loss - 0.57966) < 1e-3)
  await heads.release()
})

test('fits the ridge regression of scikit-learn, and leaves out what does not count', async () => {
  const heads = await LinearHeads.open(H, 1, squaredError, 1)
  const value = (i: number) => {
    const [a = 0, b = 0, c = 0] = vectors.subarray(i * H)
    return a - 2 * b + 0.5 * c + (i % 5) * 0.3
  }
  const targets = Float32Array.from({ length: N }, (_, i) => value(i))
  const { weight, bias } = await heads.fit({ vectors, targets, counted }, 0.1)
  near(weight, [0.9709, -1.7582, 0.5713, 0.2268])
  near(bias, [0.0144])
  await heads.release()
})
