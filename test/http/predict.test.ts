import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { digestOf } from '../../src/formats/digest.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { changedTask, distance, golden, maskOf, taskBytes } from '../material.js'
import { type ClassificationResponse, predict, type Running, startRunning, upload } from './running.js'

const textOf = ({ text, text_pair }: { text: string; text_pair?: string }) =>
  text_pair === undefined ? text : { text, text_pair }

/** Compares values except for the last digits of numbers, which depend on the other rows of a batch. */
function assertAlike(found: unknown, expected: unknown): void {
  const numbers: number[][] = [[], []]
  const without = (value: unknown, into: number[]) =>
    JSON.parse(
      JSON.stringify(value, (key, part) => {
        if (typeof part !== 'number' || key === 'start' || key === 'end') return part
        into.push(part)
        return 0
      }),
    ) as unknown
  assert.deepEqual(without(found, numbers[0] ?? []), without(expected, numbers[1] ?? []))
  assert.ok(distance(numbers[0] ?? [], numbers[1] ?? []) < 1e-5)
}

describe('the deadline of a request', () => {
  let running: Running
  before(async () => {
    running = await startRunning({ requestTimeoutMs: '3000' })
  })
  const ask = (inputs: readonly string[], timeout: string) =>
    running.app.inject({
      method: 'POST',
      url: '/tasks/sst2/predict',
      headers: { 'content-type': 'application/json', 'x-request-timeout-ms': timeout },
      body: JSON.stringify({ inputs }),
    })
  type ProblemBody = { code: string; detail: string; estimated_ms: number; left_ms: number }

  test('can be set by the client, in whole milliseconds', async () => {
    assert.equal((await ask(['a film'], '900')).statusCode, 200)
    for (const none of ['0', '-1', '1.5', 'soon']) {
      const response = await ask(['a film'], none)
      assert.deepEqual([response.statusCode, response.json<ProblemBody>().code], [400, 'invalid_request'], none)
      assert.match(response.json<ProblemBody>().detail, /x-request-timeout-ms/)
    }
  })

  test('leads to a 504 at once if the request alone takes longer', async () => {
    const response = await ask(new Array<string>(256).fill('so it goes on '.repeat(60)), '20')
    assert.deepEqual([response.statusCode, response.json<ProblemBody>().code], [504, 'deadline_exceeded'])
    assert.equal(running.server.services.dispatcher.queuedRows, 0)
  })

  test('leads to a 429 at once under load, with the estimate; the server limits the timeout of the client', async () => {
    const responses = await Promise.all(
      Array.from({ length: 300 }, (_, index) => ask(['so it goes on '.repeat(60)], index % 2 ? '3000' : '60000')),
    )
    const rejected = responses.filter(({ statusCode }) => statusCode === 429)
    const statuses = responses.map(({ statusCode }) => statusCode).join(' ')
    assert.ok(rejected.length > 0 && responses.some(({ statusCode }) => statusCode === 200), statuses)
    for (const response of rejected) {
      const { code, estimated_ms, left_ms } = response.json<ProblemBody>()
      assert.equal(code, 'overloaded')
      assert.ok(estimated_ms > left_ms && left_ms <= 3_000)
      assert.equal(Number(response.headers['retry-after']), Math.max(1, Math.ceil((estimated_ms - left_ms) / 1_000)))
    }
    const { body } = await running.app.inject('/metrics')
    assert.match(body, new RegExp(`^propetl_refused_requests_total{reason="wait"} ${rejected.length}$`, 'm'))
  })
})

describe('predictions over HTTP', () => {
  let running: Running
  before(async () => {
    running = await startRunning({ maxInputs: '40', maxQueueRows: '500' })
  })

  test('equal those of the PyTorch implementation for all golden examples of all tasks at once', async () => {
    await Promise.all(
      Object.entries(golden).map(async ([task, rows]) => {
        const response = await predict(running.app, task, { inputs: rows.map(textOf), raw_scores: true })
        assert.equal(response.statusCode, 200)
        const { version, predictions } = response.json<ClassificationResponse>()
        assert.equal(version, digestOf(taskBytes(task)))
        predictions.forEach(({ score, scores }, index) => {
          const logits = scores ? scores.map((each) => each.score) : [score]
          assert.ok(distance(logits, rows[index]?.logits ?? []) < 1e-3)
        })
      }),
    )
  })

  test('accept a text, a pair or a list, for one task or several', async () => {
    const pair = golden.mrpc?.[0]
    assert.ok(pair)
    const one = await predict(running.app, 'sst2', { inputs: 'a gorgeous film' })
    const [film] = one.json<ClassificationResponse>().predictions
    assert.equal(film?.label, 'positive')
    assert.ok(Math.abs((film?.scores ?? []).reduce((sum, { score }) => sum + score, 0) - 1) < 1e-9)
    const many = await running.app.inject({
      method: 'POST',
      url: '/predict',
      body: {
        inputs: [
          { task: 'sst2', text: 'a gorgeous film' },
          { task: 'mrpc', text: pair.text, text_pair: pair.text_pair },
          { task: 'sick_relatedness', text: 'A man sings', text_pair: 'A man is singing' },
        ],
        top_k: 1,
      },
    })
    const { predictions } = many.json<{
      predictions: (ClassificationResponse['predictions'][0] & { task: string })[]
    }>()
    assert.deepEqual(
      predictions.map(({ task }) => task),
      ['sst2', 'mrpc', 'sick_relatedness'],
    )
    assert.ok(Math.abs((predictions[0]?.score ?? 0) - (film?.score ?? 1)) < 1e-5)
    assert.deepEqual(
      predictions[1]?.scores.map(({ label }) => label),
      [predictions[1]?.label],
    )
    assert.equal(predictions[2]?.label, undefined)
    assert.ok((predictions[2]?.score ?? 0) > 4, 'two nearly equal sentences are closely related')
  })

  test('label the words of a token classification, with offsets into the text', async () => {
    const file = changedTask(taskBytes('sst2'), { metadata: { problem_type: 'token_classification' } })
    await upload(running.app, 'words', file)
    const text = 'é😀 Zürich unbelievableness'
    const response = await predict(running.app, 'words', { inputs: text, raw_scores: true })
    type Word = { text: string; start: number; end: number; scores: { score: number }[] }
    const [{ words } = { words: [] }] = response.json<{ predictions: { words: Word[] }[] }>().predictions
    assert.deepEqual(
      words.map((word) => word.text),
      ['é😀', 'Zürich', 'unbelievableness'],
    )
    for (const word of words) assert.equal(text.slice(word.start, word.end), word.text)
    const task = readTaskFile(file)
    assert.equal(response.json<ClassificationResponse>().version, task.digest)
    assert.equal(words[0]?.scores.length, task.labels.length)
    const pair = await predict(running.app, 'words', { inputs: { text: 'a', text_pair: 'b' } })
    assert.equal(pair.json<{ code: string }>().code, 'text_pair_not_taken')
  })

  test('list the labels of a multi-label task that reach its threshold or that of the request', async () => {
    const several = { problem_type: 'multi_label_classification', threshold: '0.9' }
    await upload(running.app, 'several', changedTask(taskBytes('sst2'), { metadata: several }))
    type Answer = { predictions: { labels: string[]; scores: { label: string; score: number }[] }[] }
    const ask = async (options: object) => {
      const response = await predict(running.app, 'several', { inputs: 'a gorgeous film', ...options })
      return response.json<Answer>().predictions[0] ?? assert.fail()
    }
    const { scores, labels } = await ask({})
    const [negative, positive] = scores.map(({ score }) => score)
    assert.ok(positive && negative && positive > 0.9 && negative < 0.1)
    assert.deepEqual(labels, ['positive'])
    assert.deepEqual((await ask({ threshold: negative / 2 })).labels, ['positive', 'negative'])
    assert.deepEqual((await ask({ threshold: (1 + positive) / 2 })).labels, [])
    // Raw scores do not change which labels apply.
    const raw = await ask({ raw_scores: true, top_k: 1 })
    assert.deepEqual(raw.labels, ['positive'])
    assert.ok((raw.scores[0]?.score ?? 0) > 1)
  })

  test('are vectors for a feature extraction', async () => {
    const metadata = { problem_type: 'feature_extraction', labels: undefined }
    const noHead = { 'head.weight': undefined, 'head.bias': undefined }
    const file = (normalize: string) =>
      changedTask(taskBytes('sst2'), { metadata: { ...metadata, normalize }, tensors: noHead })
    await upload(running.app, 'space', file('true'))
    await upload(running.app, 'plain-space', file('false'))
    const vector = async (task: string) => {
      const response = await predict(running.app, task, { inputs: 'a gorgeous film' })
      assert.equal(response.statusCode, 200)
      return response.json<{ predictions: { embedding: number[] }[] }>().predictions[0]?.embedding ?? []
    }
    const [unit, plain] = [await vector('space'), await vector('plain-space')]
    assert.equal(unit.length, 384)
    const norm = Math.hypot(...plain)
    assert.ok(Math.abs(Math.hypot(...unit) - 1) < 1e-6 && Math.abs(norm - 1) > 0.1)
    assert.ok(
      distance(
        unit,
        plain.map((value) => value / norm),
      ) < 1e-6,
    )
    const description = await running.app.inject({ url: '/tasks/space' })
    const { head, labels, normalize, problem_type } = description.json<Record<string, unknown>>()
    assert.deepEqual([problem_type, labels, head, normalize], ['feature_extraction', [], undefined, true])
    const pair = await predict(running.app, 'space', { inputs: { text: 'a', text_pair: 'b' } })
    assert.equal(pair.json<{ code: string }>().code, 'text_pair_not_taken')
  })

  test('are the same in a batch of all problem types as alone', async () => {
    const names = {
      metadata: { problem_type: 'token_classification', labels: '["O","B-X"]' },
    }
    const noHead = { 'head.weight': undefined, 'head.bias': undefined }
    const several = { metadata: { problem_type: 'multi_label_classification' } }
    const space = { metadata: { problem_type: 'feature_extraction', labels: undefined }, tensors: noHead }
    for (const [id, changes] of Object.entries({ names, several, space }))
      await upload(running.app, `mixed-${id}`, changedTask(taskBytes('sst2'), changes))
    const inputs = [
      { task: 'sst2', text: 'a gorgeous film' },
      { task: 'mixed-several', text: 'dull' },
      { task: 'mixed-names', text: 'Ada 😀 Lovelace' },
      { task: 'mixed-space', text: 'a film, and a long one' },
      { task: 'sick_relatedness', text: 'A man sings', text_pair: 'A man is singing' },
    ]
    const body = { inputs, threshold: 0.4 }
    const mixed = await running.app.inject({ method: 'POST', url: '/predict', body })
    const { predictions } = mixed.json<{ predictions: Record<string, unknown>[] }>()
    const fields = ['label', 'labels', 'words', 'entities', 'embedding', 'score']
    assert.deepEqual(
      predictions.map((prediction) => fields.filter((field) => field in prediction)),
      [['label', 'score'], ['label', 'labels', 'score'], ['words', 'entities'], ['embedding'], ['score']],
    )
    for (const [at, { task, ...text }] of inputs.entries()) {
      const response = await predict(running.app, task, {
        inputs: text,
        ...(task === 'mixed-several' && { threshold: 0.4 }),
      })
      const { predictions: alone } = response.json<{ predictions: Record<string, unknown>[] }>()
      const { task: _, version, ...together } = predictions[at] ?? assert.fail()
      assert.ok(version)
      assertAlike(together, alone[0])
    }
  })

  test('cut a text that is too long, or reject it with the numbers of tokens', async () => {
    const long = Array.from({ length: 700 }, (_, i) => (i % 2 ? 'film' : 'gorgeous')).join(' ')
    const first = Array.from({ length: 510 }, (_, i) => (i % 2 ? 'film' : 'gorgeous')).join(' ')
    const score = async (text: string) =>
      (await predict(running.app, 'sst2', { inputs: text })).json<ClassificationResponse>().predictions[0]?.score ?? 0
    assert.ok(Math.abs((await score(long)) - (await score(first))) < 1e-6)
    const rejected = await predict(running.app, 'sst2', { inputs: ['short', long], truncate: false })
    assert.equal(rejected.statusCode, 422)
    const { code, tokens, limit, input } = rejected.json<Record<string, unknown>>()
    assert.deepEqual({ code, tokens, limit, input }, { code: 'text_too_long', tokens: 702, limit: 512, input: 1 })
    const pair = { text: long, text_pair: 'short' }
    assert.equal((await predict(running.app, 'mrpc', { inputs: pair })).statusCode, 200)
  })

  test('have at most as many tokens as the setting allows, even if the model takes more', async () => {
    const { app } = await startRunning({ maxTextTokens: '16' })
    const rejected = await predict(app, 'sst2', { inputs: 'film '.repeat(30), truncate: false })
    const { code, tokens, limit } = rejected.json<Record<string, unknown>>()
    assert.deepEqual({ code, tokens, limit }, { code: 'text_too_long', tokens: 32, limit: 16 })
    assert.equal((await predict(app, 'sst2', { inputs: 'film '.repeat(30) })).statusCode, 200)
  })

  test('cut a text at the maximum length of its task, and say so', async () => {
    const file = changedTask(taskBytes('sst2'), { metadata: { max_length: '16' } })
    await upload(running.app, 'first-words', file)
    const long = Array.from({ length: 40 }, (_, i) => (i % 2 ? 'film' : 'gorgeous')).join(' ')
    const first = long.split(' ').slice(0, 14).join(' ')
    const inputs = [long, first].flatMap((text) => ['first-words', 'sst2'].map((task) => ({ task, text })))
    const response = await running.app.inject({
      method: 'POST',
      url: '/predict',
      payload: { inputs, raw_scores: true },
    })
    const { predictions } = response.json<{ predictions: { score: number; truncated?: boolean }[] }>()
    assert.deepEqual(
      predictions.map(({ truncated }) => truncated),
      [true, undefined, undefined, undefined],
    )
    const [cut = 0, , short = 1] = predictions.map(({ score }) => score)
    assert.ok(Math.abs(cut - short) < 1e-5)
    const { detail, limit } = (await predict(running.app, 'first-words', { inputs: long, truncate: false })).json<
      Record<string, unknown>
    >()
    assert.match(String(detail), /inputs\[0\] has 42 tokens .*; task "first-words" reads at most 16\./)
    assert.equal(limit, 16)
  })

  test('put the prefix of the task before each text', async () => {
    const file = changedTask(taskBytes('mrpc'), { metadata: { text_prefix: 'query: ' } })
    await upload(running.app, 'prefixed', file)
    const inputs = [
      { task: 'prefixed', text: 'It rained.', text_pair: 'Rain fell.' },
      { task: 'mrpc', text: 'query: It rained.', text_pair: 'query: Rain fell.' },
    ]
    const response = await running.app.inject({
      method: 'POST',
      url: '/predict',
      payload: { inputs, raw_scores: true },
    })
    const [own, expected] = response.json<ClassificationResponse>().predictions
    assert.ok(Math.abs((own?.score ?? 0) - (expected?.score ?? 1)) < 1e-5)
  })

  test('need pairs, or single texts, if the task was trained on nothing else', async () => {
    for (const inputs of ['text', 'pair'])
      await upload(running.app, `only-${inputs}`, changedTask(taskBytes('mrpc'), { metadata: { inputs } }))
    const ask = async (task: string, inputs: object) => {
      const response = await predict(running.app, task, { inputs })
      const { code, detail = '', input } = response.json<{ code?: string; detail?: string; input?: number }>()
      return { status: response.statusCode, code, detail, input }
    }
    const pair = { text: 'It rained.', text_pair: 'Rain fell.' }
    assert.equal((await ask('only-pair', [pair])).status, 200)
    assert.equal((await ask('only-text', ['It rained.'])).status, 200)
    const missing = await ask('only-pair', [pair, { text: 'It rained.' }])
    assert.deepEqual([missing.status, missing.code, missing.input], [422, 'text_pair_missing', 1])
    assert.match(missing.detail, /inputs\[1\]: task "only-pair" was trained on pairs of texts; add text_pair/)
    const superfluous = await ask('only-text', [pair])
    assert.deepEqual([superfluous.status, superfluous.code], [422, 'text_pair_not_taken'])
    assert.match(superfluous.detail, /task "only-text" was trained on single texts; remove text_pair/)
  })

  const bad: [string, string, object | string, number, string, RegExp][] = [
    ['an unknown task', 'nope', { inputs: 'a' }, 404, 'unknown_task', /no task "nope"/],
    ['a bad id', 'No%20pe', { inputs: 'a' }, 400, 'invalid_task_id', /"No pe" is not a valid task id/],
    ['an id of path pieces', '..%2f..%2fetc', { inputs: 'a' }, 400, 'invalid_task_id', /not a valid task id/],
    ['an empty text', 'sst2', { inputs: '' }, 422, 'empty_text', /inputs\[0\]: text is empty/],
    ['a blank text in a list', 'sst2', { inputs: ['a', ' \n'] }, 422, 'empty_text', /inputs\[1\]/],
    ['a blank second text', 'mrpc', { inputs: { text: 'a', text_pair: ' ' } }, 422, 'empty_text', /text_pair/],
    ['too many inputs', 'sst2', { inputs: Array(41).fill('a') }, 422, 'too_many_inputs', /41 inputs; send at most 40/],
    ['no inputs', 'sst2', {}, 400, 'invalid_request', /inputs/],
    ['an empty list', 'sst2', { inputs: [] }, 400, 'invalid_request', /body\/inputs must not be empty/],
    [
      'a number for a text',
      'sst2',
      { inputs: ['a', { text: 3 }] },
      400,
      'invalid_request',
      /body\/inputs\/1\/text must be a string, but is 3/,
    ],
    ['a misspelt option', 'sst2', { inputs: 'a', topk: 1 }, 400, 'invalid_request', /body\/topk is not a known field/],
    ['a threshold of 1', 'sst2', { inputs: 'a', threshold: 1 }, 400, 'invalid_request', /body\/threshold must be < 1/],
    [
      'a threshold for a task that has none',
      'sst2',
      { inputs: 'a', threshold: 0.3 },
      422,
      'threshold_not_taken',
      /threshold is only for multi_label_classification; remove it: "sst2" is a single_label_classification/,
    ],
    ['a top_k of 0', 'sst2', { inputs: 'a', top_k: 0 }, 400, 'invalid_request', /body\/top_k must be >= 1/],
    ['invalid JSON', 'sst2', '{"inputs":', 400, 'invalid_json', /JSON/],
    ['an empty body', 'sst2', '', 400, 'invalid_json', /empty/],
    ['a prototype-pollution key', 'sst2', '{"inputs":"a","__proto__":{"x":1}}', 400, 'invalid_json', /JSON|prototype/],
  ]
  for (const [what, task, body, status, code, detail] of bad)
    test(`reject ${what}`, async () => {
      const response = await predict(running.app, task, body)
      const problem = response.json<{ code: string; detail: string; status: number; request_id: string }>()
      assert.equal(response.headers['content-type'], 'application/problem+json')
      assert.deepEqual([response.statusCode, problem.status, problem.code], [status, status, code])
      assert.match(problem.detail, detail)
      assert.equal(response.headers['x-request-id'], problem.request_id)
    })

  test('reject another content type and a body over the limit', async () => {
    const text = await running.app.inject({
      method: 'POST',
      url: '/tasks/sst2/predict',
      headers: { 'content-type': 'text/plain' },
      body: 'a',
    })
    assert.equal(text.statusCode, 415)
    assert.match(text.json<{ detail: string }>().detail, /"text\/plain"; expected application\/json/)
    const large = await predict(running.app, 'sst2', { inputs: 'a'.repeat(1 << 20) })
    assert.equal(large.statusCode, 413)
    assert.match(
      large.json<{ detail: string }>().detail,
      /the body has 1048589 bytes; this route allows at most 1048576/,
    )
  })

  test('accept unusual characters', async () => {
    const response = await predict(running.app, 'sst2', {
      inputs: ['\u0000', '\ud800 lone', '\u202e', '한국어', '💥'.repeat(50)],
    })
    assert.equal(response.statusCode, 200)
    assert.ok(response.json<ClassificationResponse>().predictions.every(({ score }) => Number.isFinite(score)))
  })
})

describe('more tasks at once than the bank has slots', () => {
  test('each request still gets the prediction of its own task', async () => {
    const { app } = await startRunning({ slots: '3' })
    const shifts = Array.from({ length: 12 }, (_, i) => i + 1)
    const base = taskBytes('sst2')
    const bits = maskOf(readTaskFile(base)).bits
    for (const shift of shifts) {
      const mask = { dtype: 'U8' as const, shape: [1, bits.length], data: bits.map((byte) => byte ^ shift) }
      await upload(app, `t${shift}`, changedTask(base, { tensors: { mask } }))
    }
    const score = async (task: string) =>
      (await predict(app, task, { inputs: 'a gorgeous film', raw_scores: true })).json<ClassificationResponse>()
        .predictions[0]?.score ?? 0
    const alone: number[] = []
    for (const shift of shifts) alone.push(await score(`t${shift}`))
    assert.equal(
      new Set(alone.map((value) => value.toFixed(6))).size,
      shifts.length,
      'different masks give different predictions',
    )
    const together = await Promise.all(shifts.map((shift) => score(`t${shift}`)))
    assert.ok(distance(alone, together) < 1e-5)
  })
})
