// The cost of requests: it is known before the work starts, bounded, and charged to the tenant.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { taskFileInSteps } from '../../src/petl/task-file.js'
import { finish } from '../../src/steps.js'
import { changedTask, distance, floats, maskOf, taskBytes } from '../material.js'
import {
  type ClassificationResponse,
  keyClient,
  newTenant,
  operatorKey,
  predict,
  type Running,
  startRunning,
  upload,
} from './running.js'

interface ProblemBody {
  readonly code: string
  readonly detail: string
  readonly resource: string
  readonly asked: number
  readonly limit: number
}

/** A task with many labels. Its head has a dense layer with one output. */
function manyLabels(count: number, problemType: string): Uint8Array {
  return changedTask(taskBytes('sst2'), {
    metadata: {
      problem_type: problemType,
      labels: JSON.stringify(Array.from({ length: count }, (_, at) => at.toString(36))),
      head_activation: 'none',
    },
    tensors: {
      'head.dense.weight': floats([1, 384], new Float32Array(384)),
      'head.dense.bias': floats([1], [1]),
      'head.weight': floats(
        [count, 1],
        Float32Array.from({ length: count }, (_, at) => Math.sin(at)),
      ),
      'head.bias': floats([count], new Float32Array(count)),
    },
  })
}

/** Scores of such a task: a softmax of sin(0), sin(1), …, in float64. */
function expectedScores(count: number): Float64Array {
  const powers = Float64Array.from({ length: count }, (_, at) => Math.exp(Math.fround(Math.sin(at))))
  const sum = powers.reduce((a, b) => a + b)
  return powers.map((power) => power / sum)
}

const words = (count: number) => new Array<string>(count).fill('the').join(' ')

describe('the cost of a prediction', () => {
  let running: Running
  before(async () => {
    running = await startRunning()
    assert.equal((await upload(running.app, 'labels', manyLabels(100_000, 'token_classification'))).statusCode, 201)
    assert.equal((await upload(running.app, 'wide', manyLabels(30_000, 'single_label_classification'))).statusCode, 201)
    assert.equal((await upload(running.app, 'many', manyLabels(3_000, 'multi_label_classification'))).statusCode, 201)
  })
  const rejected = async (task: string, body: object): Promise<ProblemBody> => {
    const response = await predict(running.app, task, body)
    assert.equal(response.statusCode, 422, response.body.slice(0, 200))
    return response.json<ProblemBody>()
  }

  test('is bounded in bytes of the response', async () => {
    const { code, detail, resource, asked, limit } = await rejected('labels', { inputs: words(50) })
    assert.deepEqual([code, resource, limit], ['answer_too_large', 'answerBytes', 16 * 1024 * 1024])
    // A score is at least {"label":"x","score":0} and a comma.
    assert.ok(asked > 50 * 100_000 * 24)
    assert.match(detail, /at most 16777216 are allowed \(--max-answer-bytes\)\. To stay below, ask for fewer labels/)
    assert.equal(running.server.services.dispatcher.queuedRows, 0)
    assert.equal(running.server.services.costs.pools.answers.held, 0)
  })

  test('is bounded in multiply-adds of heads, even with top_k', async () => {
    const inputs = new Array<string>(20).fill(words(300))
    const { code, resource, asked, limit } = await rejected('labels', { inputs, top_k: 1 })
    assert.deepEqual([code, resource, limit], ['request_too_costly', 'multiplyAdds', 500_000_000])
    // For each word: a dense layer with one output, 100,000 logits, and 50 multiply-adds for each score.
    assert.equal(asked, 20 * 300 * (384 + 100_000 + 50 * 100_000))
  })

  test('is lower with top_k, which returns the best of 100,000 labels for each word', async () => {
    const response = await predict(running.app, 'labels', { inputs: words(20), top_k: 2 })
    assert.equal(response.statusCode, 200)
    const [prediction] = response.json<{ predictions: { words: { scores: { label: string; score: number }[] }[] }[] }>()
      .predictions
    const expected = expectedScores(100_000)
    const best = Array.from(expected.keys()).sort((a, b) => (expected[b] ?? 0) - (expected[a] ?? 0))
    assert.equal(prediction?.words.length, 20)
    for (const { scores } of prediction?.words ?? []) {
      assert.deepEqual(
        scores.map(({ label }) => label),
        best.slice(0, 2).map((at) => at.toString(36)),
      )
      assert.ok(Math.abs((scores[0]?.score ?? 0) - (expected[best[0] ?? 0] ?? 0)) < 1e-12)
    }
  })

  test('allows a large response within the bounds', async () => {
    const response = await predict(running.app, 'wide', { inputs: ['a film', 'another'] })
    assert.equal(response.statusCode, 200)
    assert.equal(response.headers['content-type'], 'application/json; charset=utf-8')
    assert.equal(Number(response.headers['content-length']), response.rawPayload.byteLength)
    const { task, predictions } = response.json<ClassificationResponse>()
    assert.equal(task, 'wide')
    for (const { scores, label, score } of predictions) {
      assert.ok(
        distance(
          scores.map((each) => each.score),
          expectedScores(30_000),
        ) < 1e-12,
      )
      assert.deepEqual(
        scores.map((each) => each.label),
        Array.from({ length: 30_000 }, (_, at) => at.toString(36)),
      )
      assert.deepEqual({ label, score }, scores.toSorted((a, b) => b.score - a.score)[0])
    }
    assert.equal(predictions.length, 2)
  })

  test('includes the labels of a multi-label task that reach the threshold', async () => {
    const response = await predict(running.app, 'many', { inputs: 'a film', threshold: 0.7 })
    const [{ labels = [] } = {}] = response.json<{ predictions: { labels?: string[] }[] }>().predictions
    const expected = Array.from({ length: 3_000 }, (_, at) => ({ at, logit: Math.fround(Math.sin(at)) }))
      .filter(({ logit }) => 1 / (1 + Math.exp(-logit)) >= 0.7)
      .sort((a, b) => b.logit - a.logit)
      .map(({ at }) => at.toString(36))
    assert.deepEqual(labels, expected)
  })

  test('releases the memory of responses, tasks and bodies', async () => {
    await Promise.all(Array.from({ length: 8 }, () => predict(running.app, 'wide', { inputs: 'a film' })))
    const { pools } = running.server.services.costs
    for (const pool of Object.values(pools)) assert.equal(pool.held, 0, pool.name)
  })

  test('allows the whole description of a task with many labels', async () => {
    const response = await running.app.inject('/tasks/wide')
    assert.equal(response.statusCode, 200)
    const { labels, head } = response.json<{ labels: string[]; head: unknown }>()
    assert.equal(labels.at(-1), (29_999).toString(36))
    assert.deepEqual(head, { inputs: 384, dense: 1, outputs: 30_000, weights: 60_000 + 385 })
  })
})

describe('the tasks of a request', () => {
  test('are bounded by their memory together, but one task is always allowed', async () => {
    const { app, server } = await startRunning({ maxTaskBytes: String(1024 * 1024) })
    const large = manyLabels(20_000, 'single_label_classification')
    for (const id of ['one', 'two', 'three']) assert.equal((await upload(app, id, large)).statusCode, 201)
    const ask = (...tasks: string[]) =>
      app.inject({
        method: 'POST',
        url: '/predict',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ inputs: tasks.map((task) => ({ task, text: 'a film' })), top_k: 1 }),
      })
    assert.equal((await ask('one', 'one', 'sst2')).statusCode, 422)
    const rejected = await ask('one', 'two', 'three')
    const { code, detail, resource } = rejected.json<ProblemBody>()
    assert.deepEqual([rejected.statusCode, code, resource], [422, 'request_too_costly', 'taskBytes'])
    assert.match(detail, /^the first 2 tasks of the request would take \d+ bytes; .*--max-task-bytes/)
    assert.equal((await ask('one')).statusCode, 200)
    assert.equal(server.services.costs.pools.tasks.held, 0)
  })

  test('count with all of their memory in the cache', async () => {
    const { app, server } = await startRunning()
    const { ready } = server.services.registry
    const bytesOf = async (file: Uint8Array) => {
      const before = ready.cached.bytes
      assert.equal((await upload(app, 'counted', file)).statusCode < 300, true)
      return ready.cached.bytes - before
    }
    const plain = await bytesOf(taskBytes('sst2'))
    assert.ok(plain > taskBytes('sst2').byteLength)
    const described = changedTask(taskBytes('sst2'), { metadata: { description: 'x'.repeat(10_000) } })
    assert.ok((await bytesOf(described)) - plain >= 10_000)
    const metrics = Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`m${at}`, at]))
    const measured = changedTask(taskBytes('sst2'), { metadata: { metrics: JSON.stringify(metrics) } })
    assert.ok((await bytesOf(measured)) - plain >= 10_000)
    // Three quarters of the file are a mask with one byte per weight. It becomes a bitset; the buffer of the file counts too.
    const mask = maskOf(finish(taskFileInSteps(taskBytes('sst2'))))
    const ones = { dtype: 'BOOL', shape: [mask.layers, 24_576], data: new Uint8Array(mask.layers * 24_576) } as const
    assert.ok((await bytesOf(changedTask(taskBytes('sst2'), { tensors: { mask: ones } }))) - plain >= 20_000)
  })
})

describe('a text that is far longer than the model supports', () => {
  let running: Running
  before(async () => {
    running = await startRunning()
  })
  const most = 32 * 512

  test('gets the prediction of its beginning', async () => {
    const text = 'gorgeous '.repeat(100_000)
    const [whole, beginning] = await Promise.all(
      [text, text.slice(0, most)].map((inputs) => predict(running.app, 'sst2', { inputs })),
    )
    assert.equal(whole?.statusCode, 200)
    const scoresOf = (response = whole) =>
      response?.json<ClassificationResponse>().predictions[0]?.scores.map(({ score }) => score) ?? []
    assert.ok(distance(scoresOf(), scoresOf(beginning)) < 1e-5)
  })

  test('is rejected with its number of characters if truncate is false', async () => {
    const response = await predict(running.app, 'mrpc', {
      inputs: { text: 'a', text_pair: 'b'.repeat(most + 1) },
      truncate: false,
    })
    assert.equal(response.statusCode, 422)
    const { code, detail } = response.json<ProblemBody>()
    assert.equal(code, 'text_too_long')
    assert.equal(
      detail,
      `inputs[0]: text_pair has ${most + 1} characters; send at most ${most}, or set truncate to true`,
    )
  })

  test('is cut between characters, not within a surrogate pair', async () => {
    const response = await predict(running.app, 'sst2', { inputs: `a${'😀'.repeat(most)}` })
    assert.equal(response.statusCode, 200)
  })

  test('is blank if the part that is read is blank', async () => {
    const response = await predict(running.app, 'sst2', { inputs: `${' '.repeat(most)}gorgeous` })
    assert.deepEqual([response.statusCode, response.json<ProblemBody>().code], [422, 'empty_text'])
  })
})

describe('the charge of a tenant', () => {
  test('is zero for a request that misses its deadline at admission', async () => {
    const { app } = await startRunning({ operatorKey })
    const tenant = await newTenant(app, 'charged', { limits: { tokens_per_second: 1_000_000 } })
    const remaining = (response: { headers: Record<string, unknown> }) =>
      Number(/"tokens";r=(\d+)/.exec(String(response.headers.ratelimit))?.[1])
    const inputs = new Array<string>(256).fill(words(500))
    const rejected = await tenant('POST', '/tasks/sst2/predict', { inputs }, { 'x-request-timeout-ms': '1' })
    assert.ok([429, 504].includes(rejected.statusCode), String(rejected.statusCode))
    assert.equal(remaining(rejected), 1_000_000)
  })

  test('includes the work of wide heads and of many values', async () => {
    const { app } = await startRunning({ operatorKey })
    const operator = keyClient(app, operatorKey)
    const tenant = await newTenant(app, 'wide', { limits: { tokens_per_second: 1 } })
    assert.equal(
      (await tenant('PUT', '/tasks/wide', Buffer.from(manyLabels(30_000, 'single_label_classification')))).statusCode,
      201,
    )
    assert.equal((await tenant('POST', '/tasks/wide/predict', { inputs: 'a', top_k: 1 })).statusCode, 200)
    // 3 tokens, 30,000 values at 250 per token, and 50 multiply-adds per value: more than 2 minutes at 1 token per second.
    const next = await tenant('POST', '/tasks/wide/predict', { inputs: 'a', top_k: 1 })
    assert.equal(next.statusCode, 429)
    const seconds = Number(next.headers['retry-after'])
    assert.ok(seconds >= 135 && seconds <= 139, String(seconds))
    assert.equal((await operator('GET', '/tenants/wide')).statusCode, 200)
  })
})

describe('the memory of requests', () => {
  const MiB = 1024 * 1024

  test('is reserved before a body is read, and released when its request ends', async () => {
    const { app, server } = await startRunning({ operatorKey, memoryBytes: String(1024 * MiB) })
    const { bodies } = server.services.costs.pools
    const tenant = await newTenant(app, 'full')
    const other = await newTenant(app, 'beta')
    // Stands for many running uploads of the tenant.
    const held = bodies.take('full', bodies.limit / 2)
    const rejected = await tenant('PUT', '/tasks/one', taskBytes('sst2'))
    assert.deepEqual([rejected.statusCode, rejected.json<ProblemBody>().code], [429, 'overloaded'])
    assert.equal(rejected.headers['retry-after'], '1')
    assert.match(rejected.json<ProblemBody>().detail, /bytes for request bodies, but only 0 are free for its owner/)
    assert.equal((await tenant('POST', '/tasks/sst2/predict', { inputs: 'a film' })).statusCode, 429)
    assert.equal((await other('PUT', '/tasks/one', taskBytes('sst2'))).statusCode, 201)
    held.release()
    assert.equal((await tenant('PUT', '/tasks/one', taskBytes('sst2'))).statusCode, 201)
    assert.equal(bodies.held, 0)
  })

  test('rejects downloads and predictions while clients do not read their responses', async () => {
    const { app, server } = await startRunning({ operatorKey, memoryBytes: String(1024 * MiB) })
    const { answers } = server.services.costs.pools
    const tenant = await newTenant(app, 'slow')
    const held = answers.take('slow', answers.limit / 2)
    for (const [method, url, body] of [
      ['GET', '/tasks/sst2/file', undefined],
      ['POST', '/tasks/sst2/predict', { inputs: 'a film' }],
    ] as const) {
      const response = await tenant(method, url, body)
      assert.deepEqual([response.statusCode, response.json<ProblemBody>().code], [429, 'overloaded'], url)
    }
    held.release()
    assert.equal((await tenant('GET', '/tasks/sst2/file')).statusCode, 200)
    assert.equal(answers.held, 0)
  })

  test('is shown by /health/ready and the metrics', async () => {
    const { app, server } = await startRunning({ memoryBytes: String(1024 * MiB) })
    const { memory } = (await app.inject('/health/ready')).json<{ memory: { shares_bytes: Record<string, number> } }>()
    assert.deepEqual(memory, {
      limit_bytes: 1024 * MiB,
      source: 'setting',
      shares_bytes: {
        cache: 64 * MiB,
        tasks: 64 * MiB,
        bodies: 64 * MiB,
        texts: 16 * MiB,
        answers: 96 * MiB,
        learning: 256 * MiB,
      },
    })
    const held = server.services.costs.pools.bodies.take('someone', 12_345)
    const { body } = await app.inject('/metrics')
    assert.match(body, /^propetl_memory_held_bytes\{use="bodies"\} 12345$/m)
    assert.match(body, /^propetl_memory_share_bytes\{use="answers"\} 100663296$/m)
    held.release()
  })

  test('is not reserved for a file over the quota, which is rejected before it is read', async () => {
    const { app } = await startRunning({ operatorKey })
    const file = taskBytes('sst2')
    const tenant = await newTenant(app, 'small', { limits: { bytes: file.byteLength + 10, tasks: 1 } })
    assert.equal((await tenant('PUT', '/tasks/one', file)).statusCode, 201)
    // Not a task file, but it is rejected before it is parsed.
    const large = await tenant('PUT', '/tasks/one', Buffer.alloc(file.byteLength + 11))
    assert.deepEqual([large.statusCode, large.json<ProblemBody>().code], [403, 'quota_exceeded'])
    const second = await tenant('PUT', '/tasks/two', Buffer.from('x'))
    assert.deepEqual([second.statusCode, second.json<ProblemBody>().code], [403, 'quota_exceeded'])
    assert.equal((await tenant('PUT', '/tasks/one', file)).statusCode, 200)
  })
})

test('the memory of a request is released when its client disconnects before the response', async () => {
  const { server } = await startRunning()
  assert.equal((await upload(server.app, 'slow', manyLabels(20_000, 'single_label_classification'))).statusCode, 201)
  const inputs = new Array<string>(20).fill('a film')
  await Promise.all(
    Array.from({ length: 20 }, async (_, at) => {
      const client = new AbortController()
      const response = fetch(`${server.address}/tasks/slow/predict`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ inputs, top_k: 100 }),
        signal: client.signal,
      })
      setTimeout(() => client.abort(), 10 * at)
      await response.then((response) => response.arrayBuffer()).catch(() => {})
    }),
  )
  const { pools, work } = server.services.costs
  const held = () => Object.values(pools).reduce((sum, pool) => sum + pool.held, 0)
  for (let looks = 0; looks < 100 && (held() > 0 || work.waiting > 0); looks++)
    await new Promise((resolve) => setTimeout(resolve, 50))
  assert.equal(held(), 0)
  assert.equal(work.waiting, 0)
})
