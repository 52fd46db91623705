import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { digestOf } from '../../src/formats/digest.js'
import { changedTask, shiftedTask, taskBytes } from '../material.js'
import { type KeyClient, keyClient, newTenant, operatorKey, type Running, startRunning } from './running.js'

interface Suggested {
  readonly text: string
  readonly text_pair?: string
  readonly tokens?: readonly string[]
  readonly predicted: { label: string | string[]; score: number; version: string }
  readonly request_id: string
  readonly index: number
  readonly seen: number
}

const sst2 = Buffer.from(taskBytes('sst2'))
const changed = (metadata: Record<string, string | undefined>, tensors = {}) =>
  Buffer.from(changedTask(sst2, { metadata, tensors }))
const words = changed({ problem_type: 'token_classification' })
const several = changed({ problem_type: 'multi_label_classification', threshold: '0.9' })
const noHead = { 'head.weight': undefined, 'head.bias': undefined }
const space = changed({ problem_type: 'feature_extraction', labels: undefined }, noHead)
const relatedness = Buffer.from(taskBytes('sick_relatedness'))

const on = { keep_texts: { days: 7 } }
const off = { keep_texts: null }
const codeOf = (response: { json<T>(): T }) => response.json<{ code: string }>().code

describe('kept texts', () => {
  let running: Running
  let acme: KeyClient
  let beta: KeyClient
  let operator: KeyClient
  before(async () => {
    running = await startRunning({ operatorKey })
    operator = keyClient(running.app, operatorKey)
    acme = await newTenant(running.app, 'acme')
    beta = await newTenant(running.app, 'beta')
  })
  const flush = () => running.server.services.suggestions.flush()
  const suggested = async (who: KeyClient, id: string, query = '') => {
    const response = await who('GET', `/tasks/${id}/suggestions${query}`)
    assert.equal(response.statusCode, 200, response.body)
    return response.json<{ texts: Suggested[] }>().texts
  }

  test('are off by default, and switched on and off by the owner', async () => {
    await acme('PUT', '/tasks/films', sst2)
    await acme('POST', '/tasks/films/predict', { inputs: 'a film before' })
    const before = await acme('GET', '/tasks/films/settings')
    assert.deepEqual(before.json(), { keep_texts: null, kept: { texts: 0, bytes: 0 } })
    const none = await acme('GET', '/tasks/films/suggestions')
    assert.deepEqual([none.statusCode, codeOf(none)], [409, 'texts_not_kept'])
    const set = await acme('PUT', '/tasks/films/settings', on)
    assert.deepEqual([set.statusCode, set.json()], [200, { ...on, kept: { texts: 0, bytes: 0 } }])
    await acme('POST', '/tasks/films/predict', { inputs: ['a film', 'a gorgeous film'] }, { 'x-request-id': 'mine' })
    await flush()
    const texts = await suggested(acme, 'films')
    assert.deepEqual(texts.map(({ text }) => text).sort(), ['a film', 'a gorgeous film'])
    for (const { text, predicted, request_id, index, seen } of texts) {
      assert.deepEqual([request_id, index, seen], ['mine', text === 'a film' ? 0 : 1, 1])
      assert.equal(predicted.version, digestOf(sst2))
    }
    const { kept } = (await acme('GET', '/tasks/films/settings')).json<{ kept: { texts: number; bytes: number } }>()
    const usage = (await operator('GET', '/tenants/acme')).json<{ usage: { bytes: number } }>().usage
    assert.equal(kept.texts, 2)
    assert.equal(usage.bytes, sst2.byteLength + kept.bytes)
    assert.equal((await acme('PUT', '/tasks/films/settings', off)).statusCode, 200)
    assert.equal((await acme('GET', '/tasks/films/suggestions')).statusCode, 409)
    const after = (await operator('GET', '/tenants/acme')).json<{ usage: { bytes: number } }>().usage
    assert.equal(after.bytes, sst2.byteLength)
  })

  test('are listed the least sure first, with scores that do not depend on what a request asks for', async () => {
    await acme('PUT', '/tasks/sorted', sst2)
    await acme('PUT', '/tasks/sorted/settings', on)
    const inputs = ['a gorgeous film', 'the film is there', 'dull', 'bad good bad good', 'unwatchable']
    const asked = [{}, { top_k: 1 }, { raw_scores: true }, { raw_scores: true, top_k: 1 }]
    const first = await acme('POST', '/tasks/sorted/predict', { inputs })
    for (const [i, options] of asked.entries()) {
      const text = inputs[i]
      assert.equal((await acme('POST', '/tasks/sorted/predict', { inputs: [text], ...options })).statusCode, 200)
    }
    const many = { inputs: inputs.map((text) => ({ task: 'sorted', text })) }
    assert.equal((await acme('POST', '/predict', many)).statusCode, 200)
    await flush()
    const { predictions } = first.json<{ predictions: { label: string; score: number }[] }>()
    const expected = predictions
      .map(({ label, score }, i) => ({ text: inputs[i] ?? '', label, score }))
      .sort((a, b) => a.score - b.score)
    const texts = await suggested(acme, 'sorted')
    assert.deepEqual(
      texts.map(({ text }) => text),
      expected.map(({ text }) => text),
    )
    for (const [i, { predicted, seen, text }] of texts.entries()) {
      assert.equal(predicted.label, expected[i]?.label)
      assert.ok(Math.abs(predicted.score - (expected[i]?.score ?? 0)) < 1e-4)
      assert.equal(seen, inputs.indexOf(text) < asked.length ? 3 : 2)
    }
    assert.equal((await suggested(acme, 'sorted', '?limit=2')).length, 2)
  })

  test('can be labelled by their request, and are no suggestions any more', async () => {
    await acme('PUT', '/tasks/labelled', sst2)
    const feedback = (body: object) => acme('POST', '/tasks/labelled/feedback', body)
    const early = await feedback({ request_id: 'first', label: 'positive' })
    assert.deepEqual([early.statusCode, codeOf(early)], [404, 'unknown_request'])
    assert.match(early.json<{ detail: string }>().detail, /PUT \/tasks\/labelled\/settings/)
    await acme('PUT', '/tasks/labelled/settings', on)
    await acme('POST', '/tasks/labelled/predict', { inputs: ['one', 'two'] }, { 'x-request-id': 'first' })
    // Not written yet.
    const one = await feedback({ request_id: 'first', label: 'positive' })
    assert.equal(one.statusCode, 200, one.body)
    await flush()
    const [, ...none] = await suggested(acme, 'labelled')
    assert.deepEqual(none, [])
    const two = await feedback({ request_id: 'first', index: 1, label: 'negative' })
    type Example = { text: string; label: string; source: string; predicted: { label: string; version: string } }
    const { text, label, source, predicted } = two.json<Example>()
    assert.deepEqual([text, label, source, predicted.version], ['two', 'negative', 'feedback', digestOf(sst2)])
    assert.deepEqual(await suggested(acme, 'labelled'), [])
    for (const [body, code] of [
      [{ request_id: 'first', index: 2, label: 'negative' }, 'unknown_request'],
      [{ request_id: 'second', label: 'negative' }, 'unknown_request'],
      [{ request_id: '"><\n\u0000', label: 'negative' }, 'unknown_request'],
      [{ request_id: 'first', text: 'one', label: 'negative' }, 'invalid_request'],
      [{ request_id: 'first', text_pair: 'one', label: 'negative' }, 'invalid_request'],
      [{ request_id: '', label: 'negative' }, 'invalid_request'],
      [{ request_id: 'first', index: -1, label: 'negative' }, 'invalid_request'],
      [{ request_id: 'first', index: 0.5, label: 'negative' }, 'invalid_request'],
    ] as const)
      assert.equal(codeOf(await feedback(body)), code, JSON.stringify(body))
    // The request of another tenant.
    await beta('PUT', '/tasks/labelled', sst2)
    await beta('PUT', '/tasks/labelled/settings', on)
    const others = await beta('POST', '/tasks/labelled/feedback', { request_id: 'first', label: 'positive' })
    assert.equal(codeOf(others), 'unknown_request')
  })

  test('of tasks that label words or several labels have the labels, and the words', async () => {
    for (const [id, file] of [
      ['words', words],
      ['several', several],
    ] as const) {
      await acme('PUT', `/tasks/${id}`, file)
      assert.equal((await acme('PUT', `/tasks/${id}/settings`, on)).statusCode, 200)
      await acme('POST', `/tasks/${id}/predict`, { inputs: 'Ada Lovelace sings', raw_scores: true, top_k: 1 })
    }
    await flush()
    const [tagged] = await suggested(acme, 'words')
    assert.deepEqual(tagged?.tokens, ['Ada', 'Lovelace', 'sings'])
    const tags = ['B-X', 'I-X', 'O']
    const { request_id, index } = tagged
    const corrected = await acme('POST', '/tasks/words/feedback', { request_id, index, tags })
    assert.deepEqual(corrected.json<{ tokens: string[]; tags: string[] }>().tokens, tagged.tokens)
    assert.deepEqual(await suggested(acme, 'words'), [])
    assert.equal(tagged.predicted.label.length, 3)
    assert.ok(tagged.predicted.score > 0.5 && tagged.predicted.score < 1)
    const [multi] = await suggested(acme, 'several')
    assert.ok(Array.isArray(multi?.predicted.label) && multi.tokens === undefined)
  })

  test('are not offered for tasks that decide on no labels', async () => {
    for (const [id, file] of [
      ['space', space],
      ['relatedness', relatedness],
    ] as const) {
      assert.equal((await acme('PUT', `/tasks/${id}`, file)).statusCode, 201)
      const response = await acme('PUT', `/tasks/${id}/settings`, on)
      assert.deepEqual([response.statusCode, codeOf(response)], [422, 'suggestions_unsupported'])
      assert.equal((await acme('PUT', `/tasks/${id}/settings`, off)).statusCode, 200)
    }
    // A later version can be of another type.
    await acme('PUT', '/tasks/replaced', sst2)
    await acme('PUT', '/tasks/replaced/settings', on)
    await acme('PUT', '/tasks/replaced', relatedness)
    const pair = { text: 'a man', text_pair: 'a woman' }
    assert.equal((await acme('POST', '/tasks/replaced/predict', { inputs: pair })).statusCode, 200)
    await flush()
    assert.deepEqual(await suggested(acme, 'replaced'), [])
  })

  test('are those of the own task, even if others have a task with the same id', async () => {
    for (const who of [acme, beta, operator]) assert.equal((await who('PUT', '/tasks/same', sst2)).statusCode, 201)
    await acme('PUT', '/tasks/same/settings', on)
    for (const [who, text] of [
      [acme, 'from acme'],
      [beta, 'from beta'],
      [operator, 'from the operator'],
    ] as const)
      await who('POST', '/tasks/same/predict', { inputs: text })
    await flush()
    assert.deepEqual(
      (await suggested(acme, 'same')).map(({ text }) => text),
      ['from acme'],
    )
    for (const who of [beta, operator]) {
      assert.equal(codeOf(await who('GET', '/tasks/same/suggestions')), 'texts_not_kept')
      assert.deepEqual((await who('GET', '/tasks/same/settings')).json(), { ...off, kept: { texts: 0, bytes: 0 } })
    }
  })

  test('go with their task', async () => {
    await acme('PUT', '/tasks/gone', sst2)
    await acme('PUT', '/tasks/gone/settings', on)
    await acme('POST', '/tasks/gone/predict', { inputs: 'some text' })
    await flush()
    assert.equal((await acme('DELETE', '/tasks/gone')).statusCode, 204)
    for (const path of ['settings', 'suggestions'])
      assert.equal(codeOf(await acme('GET', `/tasks/gone/${path}`)), 'unknown_task')
    await acme('PUT', '/tasks/gone', Buffer.from(shiftedTask(sst2, 1)))
    assert.deepEqual((await acme('GET', '/tasks/gone/settings')).json(), { ...off, kept: { texts: 0, bytes: 0 } })
    await running.server.services.suggestions.sweep()
    const { store } = running.server.services
    assert.deepEqual(
      Array.from(store.range('recent'), ([key]) => key).filter((key) => key.startsWith('~acme/gone')),
      [],
    )
  })

  test('can be switched on for a task without a version, and off with its last example', async () => {
    const examples = [{ text: 'a film', label: 'good' }]
    assert.equal((await acme('POST', '/tasks/draft/examples', examples)).statusCode, 200)
    assert.equal((await acme('PUT', '/tasks/draft/settings', on)).statusCode, 200)
    assert.deepEqual(await suggested(acme, 'draft'), [])
    assert.equal((await acme('DELETE', '/tasks/draft/examples')).statusCode, 204)
    assert.equal(codeOf(await acme('GET', '/tasks/draft/settings')), 'unknown_task')
    assert.equal((await acme('POST', '/tasks/draft/examples', examples)).statusCode, 200)
    assert.deepEqual((await acme('GET', '/tasks/draft/settings')).json(), { ...off, kept: { texts: 0, bytes: 0 } })
    assert.equal((await acme('DELETE', '/tasks/draft')).statusCode, 204)
  })

  test('appear in no log line, metric or audit line', async () => {
    await acme('PUT', '/tasks/secret', sst2)
    await acme('PUT', '/tasks/secret/settings', { keep_texts: { days: 30 } })
    await acme('PUT', '/tasks/secret/settings', { keep_texts: { days: 31 } })
    await acme('POST', '/tasks/secret/predict', { inputs: 'my very private matter' })
    await flush()
    assert.equal((await suggested(acme, 'secret')).length, 1)
    await acme('PUT', '/tasks/secret/settings', off)
    await running.server.services.suggestions.sweep()
    const metrics = (await operator('GET', '/metrics')).body
    assert.match(metrics, /^propetl_kept_texts_total \d+$/m)
    assert.match(metrics, /^propetl_kept_texts_dropped_total 0$/m)
    assert.doesNotMatch(metrics + JSON.stringify(running.log), /private matter/)
    const audited = running.log.filter(({ audit, object }) => audit && object === 'secret')
    assert.deepEqual(
      audited.slice(1).map(({ action, tenant, before, after }) => ({ action, tenant, before, after })),
      [
        [off, { keep_texts: { days: 30 } }],
        [{ keep_texts: { days: 30 } }, { keep_texts: { days: 31 } }],
        [{ keep_texts: { days: 31 } }, off],
      ].map(([before, after]) => ({ action: 'task.settings', tenant: 'acme', before, after })),
    )
  })

  test('cannot be switched on for bundled or unknown tasks, or with invalid settings', async () => {
    const bundled = await acme('PUT', '/tasks/sst2/settings', on)
    assert.deepEqual([bundled.statusCode, codeOf(bundled)], [409, 'task_read_only'])
    assert.deepEqual((await acme('GET', '/tasks/sst2/settings')).json(), { ...off, kept: { texts: 0, bytes: 0 } })
    assert.equal(codeOf(await acme('GET', '/tasks/sst2/suggestions')), 'texts_not_kept')
    for (const [id, code] of [
      ['nothing', 'unknown_task'],
      ['A%2Fb', 'invalid_task_id'],
      ['..%2F~beta%2Fsame', 'invalid_task_id'],
    ] as const) {
      assert.equal(codeOf(await acme('PUT', `/tasks/${id}/settings`, on)), code)
      assert.equal(codeOf(await acme('GET', `/tasks/${id}/settings`)), code)
      assert.equal(codeOf(await acme('GET', `/tasks/${id}/suggestions`)), code)
    }
    await acme('PUT', '/tasks/mine', sst2)
    const days = (value: unknown) => ({ keep_texts: { days: value } })
    const invalid = [
      ...[{}, { keep_texts: true }, { keep_texts: {} }, { keep_texts: { days: 7, hours: 1 } }, { ...on, other: 1 }],
      ...[0, 91, 1.5, '7', null, 1e300, [7]].map(days),
      [on],
    ]
    for (const body of invalid) {
      const response = await acme('PUT', '/tasks/mine/settings', body)
      assert.deepEqual([response.statusCode, codeOf(response)], [400, 'invalid_request'], JSON.stringify(body))
    }
    for (const query of ['?limit=0', '?limit=101', '?limit=1e3', '?limit=', '?after=a', '?limit=1&limit=2'])
      assert.equal(codeOf(await acme('GET', `/tasks/mine/suggestions${query}`)), 'invalid_request', query)
    assert.deepEqual((await acme('GET', '/tasks/mine/settings')).json(), { ...off, kept: { texts: 0, bytes: 0 } })
  })
})
