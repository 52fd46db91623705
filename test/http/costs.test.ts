// What requests may cost: each cost is known before the work begins, bounded, and charged to whoever asked for it.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { taskFileInSteps } from '../../src/petl/task-file.js'
import { finish } from '../../src/steps.js'
import { changedTask, distance, floats, taskBytes } from '../material.js'
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

/** A task of many labels, whose head is a dense layer of one value and an output of one column. */
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

describe('the cost of an answer', () => {
  let running: Running
  before(async () => {
    running = await startRunning()
    assert.equal((await upload(running.app, 'labels', manyLabels(100_000, 'token_classification'))).statusCode, 201)
    assert.equal((await upload(running.app, 'wide', manyLabels(30_000, 'single_label_classification'))).statusCode, 201)
    assert.equal((await upload(running.app, 'many', manyLabels(3_000, 'multi_label_classification'))).statusCode, 201)
  })
  const refused = async (task: string, body: object): Promise<ProblemBody> => {
    const answer = await predict(running.app, task, body)
    assert.equal(answer.statusCode, 422, answer.body.slice(0, 200))
    return answer.json<ProblemBody>()
  }

  test('is bounded in bytes: labels for each word of each text', async () => {
    const { code, detail, resource, asked, limit } = await refused('labels', { inputs: words(50) })
    assert.deepEqual([code, resource, limit], ['answer_too_large', 'answerBytes', 16 * 1024 * 1024])
    // A score is at least {"label":"x","score":0} and a comma.
    assert.ok(asked > 50 * 100_000 * 24)
    assert.match(detail, /at most 16777216 are allowed \(--max-answer-bytes\)\. To stay below, ask for fewer labels/)
    assert.equal(running.server.services.dispatcher.queuedRows, 0)
    assert.equal(running.server.services.costs.pools.answers.held, 0)
  })

  test('is bounded in multiply-adds of heads, which no top_k makes fewer', async () => {
    const inputs = new Array<string>(20).fill(words(300))
    const { code, resource, asked, limit } = await refused('labels', { inputs, top_k: 1 })
    assert.deepEqual([code, resource, limit], ['request_too_costly', 'multiplyAdds', 500_000_000])
    // Of each word: a dense layer of one value, 100,000 outputs, and what becomes of them.
    assert.equal(asked, 20 * 300 * (384 + 100_000 + 50 * 100_000))
  })

  test('is less with top_k: the best label of a hundred thousand, for each word', async () => {
    const answer = await predict(running.app, 'labels', { inputs: words(20), top_k: 2 })
    assert.equal(answer.statusCode, 200)
    const [prediction] = answer.json<{ predictions: { words: { scores: { label: string; score: number }[] }[] }[] }>()
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

  test('within its bounds is answered in full, whatever its size', async () => {
    const answer = await predict(running.app, 'wide', { inputs: ['a film', 'another'] })
    assert.equal(answer.statusCode, 200)
    assert.equal(answer.headers['content-type'], 'application/json; charset=utf-8')
    assert.equal(Number(answer.headers['content-length']), answer.rawPayload.byteLength)
    const { task, predictions } = answer.json<ClassificationResponse>()
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

  test('counts the labels of a multi-label task that reach its threshold', async () => {
    const answer = await predict(running.app, 'many', { inputs: 'a film', threshold: 0.7 })
    const [{ labels = [] } = {}] = answer.json<{ predictions: { labels?: string[] }[] }>().predictions
    const expected = Array.from({ length: 3_000 }, (_, at) => ({ at, logit: Math.fround(Math.sin(at)) }))
      .filter(({ logit }) => 1 / (1 + Math.exp(-logit)) >= 0.7)
      .sort((a, b) => b.logit - a.logit)
      .map(({ at }) => at.toString(36))
    assert.deepEqual(labels, expected)
  })

  test('gives back what it held of the memory for answers, tasks and bodies', async () => {
    await Promise.all(Array.from({ length: 8 }, () => predict(running.app, 'wide', { inputs: 'a film' })))
    const { pools } = running.server.services.costs
    for (const pool of Object.values(pools)) assert.equal(pool.held, 0, pool.name)
  })

  test('a description of a task with many labels is whole', async () => {
    const answer = await running.app.inject('/tasks/wide')
    assert.equal(answer.statusCode, 200)
    const { labels, head } = answer.json<{ labels: string[]; head: unknown }>()
    assert.equal(labels.at(-1), (29_999).toString(36))
    assert.deepEqual(head, { inputs: 384, dense: 1, outputs: 30_000, weights: 60_000 + 385 })
  })
})

describe('the tasks that a request names', () => {
  test('are bounded by the memory that they take together; one alone is not', async () => {
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
    const refused = await ask('one', 'two', 'three')
    const { code, detail, resource } = refused.json<ProblemBody>()
    assert.deepEqual([refused.statusCode, code, resource], [422, 'request_too_costly', 'taskBytes'])
    assert.match(detail, /^the first 2 tasks that the request names would take \d+ bytes; .*--max-task-bytes/)
    assert.equal((await ask('one')).statusCode, 200)
    assert.equal(server.services.costs.pools.tasks.held, 0)
  })

  test('are cached with all that they hold in memory', async () => {
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
    // Three fourths of the file are a mask of whole bytes that becomes one of bits: what is left of it is counted.
    const { mask } = finish(taskFileInSteps(taskBytes('sst2')))
    const ones = { dtype: 'BOOL', shape: [mask.layers, 24_576], data: new Uint8Array(mask.layers * 24_576) } as const
    assert.ok((await bytesOf(changedTask(taskBytes('sst2'), { tensors: { mask: ones } }))) - plain >= 20_000)
  })
})

describe('a text that is far longer than the model takes', () => {
  let running: Running
  before(async () => {
    running = await startRunning()
  })
  const most = 32 * 512

  test('is answered by its beginning, as if the rest were not there', async () => {
    const text = 'gorgeous '.repeat(100_000)
    const [whole, beginning] = await Promise.all(
      [text, text.slice(0, most)].map((inputs) => predict(running.app, 'sst2', { inputs })),
    )
    assert.equal(whole?.statusCode, 200)
    const scoresOf = (answer = whole) =>
      answer?.json<ClassificationResponse>().predictions[0]?.scores.map(({ score }) => score) ?? []
    assert.ok(distance(scoresOf(), scoresOf(beginning)) < 1e-5)
  })

  test('is refused where it may not be cut, by its characters', async () => {
    const answer = await predict(running.app, 'mrpc', {
      inputs: { text: 'a', text_pair: 'b'.repeat(most + 1) },
      truncate: false,
    })
    assert.equal(answer.statusCode, 422)
    const { code, detail } = answer.json<ProblemBody>()
    assert.equal(code, 'text_too_long')
    assert.equal(detail, `inputs[0]: text_pair has ${most + 1} characters; at most ${most} are read`)
  })

  test('is cut between characters, never within one', async () => {
    const answer = await predict(running.app, 'sst2', { inputs: `a${'😀'.repeat(most)}` })
    assert.equal(answer.statusCode, 200)
  })

  test('is blank if all that is read of it is blank', async () => {
    const answer = await predict(running.app, 'sst2', { inputs: `${' '.repeat(most)}gorgeous` })
    assert.deepEqual([answer.statusCode, answer.json<ProblemBody>().code], [422, 'empty_text'])
  })
})

describe('what a tenant is charged', () => {
  test('is what was admitted: a request that cannot be answered in time costs nothing', async () => {
    const { app } = await startRunning({ operatorKey })
    const tenant = await newTenant(app, 'charged', { limits: { tokens_per_second: 1_000_000 } })
    const remaining = (answer: { headers: Record<string, unknown> }) =>
      Number(/"tokens";r=(\d+)/.exec(String(answer.headers.ratelimit))?.[1])
    const inputs = new Array<string>(256).fill(words(500))
    const refused = await tenant('POST', '/tasks/sst2/predict', { inputs }, { 'x-request-timeout-ms': '1' })
    assert.ok([429, 504].includes(refused.statusCode), String(refused.statusCode))
    assert.equal(remaining(refused), 1_000_000)
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
    // Three tokens, and 30,000 values at 250 a token, and 50 multiply-adds for each value: more than two minutes of one token a second.
    const next = await tenant('POST', '/tasks/wide/predict', { inputs: 'a', top_k: 1 })
    assert.equal(next.statusCode, 429)
    const seconds = Number(next.headers['retry-after'])
    assert.ok(seconds >= 135 && seconds <= 139, String(seconds))
    assert.equal((await operator('GET', '/tenants/wide')).statusCode, 200)
  })
})

describe('the memory of requests', () => {
  const MiB = 1024 * 1024

  test('is refused to bodies before they are read, and given back when their requests end', async () => {
    const { app, server } = await startRunning({ operatorKey, memoryBytes: String(1024 * MiB) })
    const { bodies } = server.services.costs.pools
    const tenant = await newTenant(app, 'full')
    const other = await newTenant(app, 'beta')
    // As if many uploads of the tenant were under way.
    const held = bodies.take('full', bodies.limit / 2)
    const refused = await tenant('PUT', '/tasks/one', taskBytes('sst2'))
    assert.deepEqual([refused.statusCode, refused.json<ProblemBody>().code], [429, 'overloaded'])
    assert.equal(refused.headers['retry-after'], '1')
    assert.match(refused.json<ProblemBody>().detail, /bytes for bodies of requests, and 0 are free for its owner/)
    assert.equal((await tenant('POST', '/tasks/sst2/predict', { inputs: 'a film' })).statusCode, 429)
    assert.equal((await other('PUT', '/tasks/one', taskBytes('sst2'))).statusCode, 201)
    held.release()
    assert.equal((await tenant('PUT', '/tasks/one', taskBytes('sst2'))).statusCode, 201)
    assert.equal(bodies.held, 0)
  })

  test('is refused to downloads and answers while clients do not take theirs', async () => {
    const { app, server } = await startRunning({ operatorKey, memoryBytes: String(1024 * MiB) })
    const { answers } = server.services.costs.pools
    const tenant = await newTenant(app, 'slow')
    const held = answers.take('slow', answers.limit / 2)
    for (const [method, url, body] of [
      ['GET', '/tasks/sst2/file', undefined],
      ['POST', '/tasks/sst2/predict', { inputs: 'a film' }],
    ] as const) {
      const answer = await tenant(method, url, body)
      assert.deepEqual([answer.statusCode, answer.json<ProblemBody>().code], [429, 'overloaded'], url)
    }
    held.release()
    assert.equal((await tenant('GET', '/tasks/sst2/file')).statusCode, 200)
    assert.equal(answers.held, 0)
  })

  test('is told by /health/ready and the metrics', async () => {
    const { app, server } = await startRunning({ memoryBytes: String(1024 * MiB) })
    const { memory } = (await app.inject('/health/ready')).json<{ memory: { shares_bytes: Record<string, number> } }>()
    assert.deepEqual(memory, {
      limit_bytes: 1024 * MiB,
      source: 'setting',
      shares_bytes: { cache: 64 * MiB, tasks: 64 * MiB, bodies: 64 * MiB, texts: 16 * MiB, answers: 96 * MiB },
    })
    const held = server.services.costs.pools.bodies.take('someone', 12_345)
    const { body } = await app.inject('/metrics')
    assert.match(body, /^propetl_memory_held_bytes\{use="bodies"\} 12345$/m)
    assert.match(body, /^propetl_memory_share_bytes\{use="answers"\} 100663296$/m)
    held.release()
  })

  test('is not needed for a file that the quota has no room for: it is refused before it is read', async () => {
    const { app } = await startRunning({ operatorKey })
    const file = taskBytes('sst2')
    const tenant = await newTenant(app, 'small', { limits: { bytes: file.byteLength + 10, tasks: 1 } })
    assert.equal((await tenant('PUT', '/tasks/one', file)).statusCode, 201)
    // Not a task file, but nobody looks at that.
    const large = await tenant('PUT', '/tasks/one', Buffer.alloc(file.byteLength + 11))
    assert.deepEqual([large.statusCode, large.json<ProblemBody>().code], [403, 'quota_exceeded'])
    const second = await tenant('PUT', '/tasks/two', Buffer.from('x'))
    assert.deepEqual([second.statusCode, second.json<ProblemBody>().code], [403, 'quota_exceeded'])
    assert.equal((await tenant('PUT', '/tasks/one', file)).statusCode, 200)
  })
})

test('what a request holds is given back when its client leaves before the answer', async () => {
  const { server } = await startRunning()
  assert.equal((await upload(server.app, 'slow', manyLabels(20_000, 'single_label_classification'))).statusCode, 201)
  const inputs = new Array<string>(20).fill('a film')
  await Promise.all(
    Array.from({ length: 20 }, async (_, at) => {
      const client = new AbortController()
      const answer = fetch(`${server.address}/tasks/slow/predict`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ inputs, top_k: 100 }),
        signal: client.signal,
      })
      setTimeout(() => client.abort(), 10 * at)
      await answer.then((response) => response.arrayBuffer()).catch(() => {})
    }),
  )
  const { pools, work } = server.services.costs
  const held = () => Object.values(pools).reduce((sum, pool) => sum + pool.held, 0)
  for (let looks = 0; looks < 100 && (held() > 0 || work.waiting > 0); looks++)
    await new Promise((resolve) => setTimeout(resolve, 50))
  assert.equal(held(), 0)
  assert.equal(work.waiting, 0)
})
