import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { digestOf } from '../../src/formats/digest.js'
import { describeApi } from '../../src/http/openapi.js'
import { shiftedTask, taskBytes } from '../material.js'
import {
  type ClassificationResponse,
  type KeyClient,
  keyClient,
  newTenant,
  operatorKey,
  type Running,
  startRunning,
} from './running.js'

const file = (shift: number) => Buffer.from(shiftedTask(taskBytes('sst2'), shift))
const [acmes, betas, operators, secret] = [file(1), file(2), file(3), file(4)]
const bundled = ['cola', 'mrpc', 'sick_relatedness', 'sst2', 'subj', 'trec']

describe('tenants', () => {
  let running: Running
  let acme: KeyClient
  let beta: KeyClient
  let operator: KeyClient
  before(async () => {
    running = await startRunning({ operatorKey })
    operator = keyClient(running.app, operatorKey)
    acme = await newTenant(running.app, 'acme')
    beta = await newTenant(running.app, 'beta')
    assert.equal((await acme('PUT', '/tasks/mine', acmes)).statusCode, 201)
    assert.equal((await beta('PUT', '/tasks/mine', betas)).statusCode, 201)
    assert.equal((await operator('PUT', '/tasks/mine', operators)).statusCode, 201)
    assert.equal((await acme('PUT', '/tasks/secret', secret)).statusCode, 201)
  })
  const ids = async (who: KeyClient, query = '') => {
    const { tasks, total } = (await who('GET', `/tasks${query}`)).json<{ tasks: { id: string }[]; total: number }>()
    return { ids: tasks.map(({ id }) => id), total }
  }

  test('can use the same id for different tasks', async () => {
    for (const [who, own] of [
      [acme, acmes],
      [beta, betas],
      [operator, operators],
    ] as const) {
      const version = digestOf(own)
      assert.equal((await who('GET', '/tasks/mine')).json<{ version: string }>().version, version)
      assert.deepEqual((await who('GET', '/tasks/mine/file')).rawPayload, own)
      const one = await who('POST', '/tasks/mine/predict', { inputs: 'a film' })
      assert.equal(one.json<ClassificationResponse>().version, version)
      const many = await who('POST', '/predict', { inputs: [{ task: 'mine', text: 'a film' }] })
      assert.equal(many.json<{ predictions: { version: string }[] }>().predictions[0]?.version, version)
    }
  })

  test('get predictions of their own tasks, even in one batch', async () => {
    const asked = await Promise.all(
      Array.from({ length: 30 }, async (_, i) => {
        const [who, own] = i % 2 === 0 ? ([acme, acmes] as const) : ([beta, betas] as const)
        const response = await who('POST', '/tasks/mine/predict', { inputs: 'a gorgeous film', raw_scores: true })
        const { version, predictions } = response.json<ClassificationResponse>()
        assert.equal(version, digestOf(own))
        return predictions[0]?.scores[0]?.score ?? Number.NaN
      }),
    )
    for (const [i, score] of asked.entries())
      assert.ok(Math.abs(score - (asked[0] ?? 0) - (i % 2)) < 1e-3, 'a score is of another version')
  })

  test('see their own and the bundled tasks in lists, counts and pages', async () => {
    assert.deepEqual(await ids(acme), {
      ids: ['cola', 'mine', 'mrpc', 'secret', 'sick_relatedness', 'sst2', 'subj', 'trec'],
      total: 8,
    })
    assert.deepEqual(await ids(beta), { ids: ['cola', 'mine', ...bundled.slice(1)], total: 7 })
    assert.deepEqual(await ids(operator), { ids: ['cola', 'mine', ...bundled.slice(1)], total: 7 })
    assert.deepEqual((await ids(beta, '?limit=2&after=mine')).ids, ['mrpc', 'sick_relatedness'])
    // Ids that would leave the tenant's range of the store are invalid.
    for (const after of ['~acme/', '~', '%ED%A0%80', 'a/b', 'a'.repeat(65)])
      assert.equal((await beta('GET', `/tasks?after=${after}`)).statusCode, 400)
  })

  test('can use but not change bundled tasks', async () => {
    for (const who of [acme, beta, operator]) {
      const response = await who('POST', '/tasks/sst2/predict', { inputs: 'a gorgeous film' })
      assert.equal(response.json<ClassificationResponse>().predictions[0]?.label, 'positive')
      assert.equal((await who('PUT', '/tasks/sst2', acmes)).json<{ code: string }>().code, 'task_read_only')
      assert.equal((await who('DELETE', '/tasks/sst2')).json<{ code: string }>().code, 'task_read_only')
    }
  })

  test("see a missing task on every route where another tenant's task is", async () => {
    const inputs = { inputs: 'a film' }
    const etag = `"${digestOf(secret)}"`
    const requests: ((who: KeyClient, id: string) => ReturnType<KeyClient>)[] = [
      (who, id) => who('GET', `/tasks/${id}`),
      (who, id) => who('GET', `/tasks/${id}`, undefined, { 'if-none-match': etag }),
      (who, id) => who('GET', `/tasks/${id}/file`),
      (who, id) => who('GET', `/tasks/${id}/file`, undefined, { 'if-none-match': etag }),
      (who, id) => who('POST', `/tasks/${id}/predict`, inputs),
      (who, id) => who('POST', `/tasks/${id}/predict?version=1`, inputs),
      (who, id) => who('GET', `/tasks/${id}/versions`),
      (who, id) => who('GET', `/tasks/${id}/versions/1/report`),
      (who, id) => who('PUT', `/tasks/${id}/active`, { version: 1 }),
      (who, id) => who('DELETE', `/tasks/${id}/versions/1`),
      (who, id) => who('GET', `/tasks/${id}/examples`),
      (who, id) => who('DELETE', `/tasks/${id}/examples`),
      (who, id) => who('POST', `/tasks/${id}/learn`, {}),
      (who, id) => who('GET', `/tasks/${id}/settings`),
      (who, id) => who('GET', `/tasks/${id}/suggestions`),
      (who, id) => who('POST', '/predict', { inputs: [{ task: id, text: 'a film' }] }),
      (who, id) => who('PUT', `/tasks/${id}`, betas, { 'if-match': etag }),
      (who, id) => who('PUT', `/tasks/${id}`, betas, { 'if-match': '*' }),
      (who, id) => who('DELETE', `/tasks/${id}`),
      (who, id) => who('DELETE', `/tasks/${id}`, undefined, { 'if-match': etag }),
    ]
    const seen = async (who: KeyClient, id: string, request: (typeof requests)[number]) => {
      const { statusCode, headers, body } = await request(who, id)
      const { 'x-request-id': requestId, date, ...shown } = headers
      assert.ok(date)
      return { statusCode, shown, body: body.replaceAll(String(requestId), 'ID') }
    }
    for (const who of [beta, operator])
      for (const request of requests) {
        const others = await seen(who, 'secret', request)
        assert.ok([404, 412].includes(others.statusCode), others.body)
        // An id of the same length, because content-length is compared too.
        const none = await seen(who, 'nobody', request)
        assert.deepEqual(others, { ...none, body: none.body.replaceAll('nobody', 'secret') })
      }
    // None of the requests changed the task.
    assert.deepEqual((await acme('GET', '/tasks/secret/file')).rawPayload, secret)
  })

  test('get the same response for an upload, even if another tenant has the id or the file', async () => {
    const created = await beta('PUT', '/tasks/secret', secret, { 'if-none-match': '*' })
    assert.equal(created.statusCode, 201)
    assert.equal((await beta('PUT', '/tasks/secret', betas)).statusCode, 200)
    assert.equal((await beta('DELETE', '/tasks/secret')).statusCode, 204)
    assert.equal((await beta('GET', '/tasks/secret')).statusCode, 404)
    assert.deepEqual((await acme('GET', '/tasks/secret/file')).rawPayload, secret)
    const { usage } = (await beta('GET', '/tenants/beta')).json<{ usage: object }>()
    assert.deepEqual(usage, { tasks: 1, bytes: betas.byteLength, examples: 0 })
  })

  test('cannot reach others through an invalid id', async () => {
    const hostile = [
      '~acme%2Fsecret',
      '..%2F~acme%2Fsecret',
      '__proto__',
      'a%00b',
      'a%0d%0ab',
      '%F0%9F%98%80',
      'secret%20',
      'SECRET',
    ]
    for (const id of hostile)
      for (const response of [
        await beta('GET', `/tasks/${id}`),
        await beta('GET', `/tasks/${id}/file`),
        await beta('PUT', `/tasks/${id}`, betas),
        await beta('DELETE', `/tasks/${id}`),
        await beta('POST', `/tasks/${id}/predict`, { inputs: 'a' }),
        await beta('POST', '/predict', { inputs: [{ task: decodeURIComponent(id), text: 'a' }] }),
      ])
        assert.ok(
          ['invalid_task_id', 'not_found'].includes(response.json<{ code: string }>().code),
          `${id}: ${response.statusCode} ${response.body}`,
        )
    const lone = await beta('POST', '/predict', { inputs: [{ task: '\ud800', text: 'a' }] })
    assert.equal(lone.json<{ code: string }>().code, 'invalid_task_id')
    assert.deepEqual((await acme('GET', '/tasks/secret/file')).rawPayload, secret)
  })

  test('need an API key for every route except health and the documentation', async () => {
    const { paths } = JSON.parse(await describeApi()) as {
      paths: Record<string, Record<string, { security?: unknown[] }>>
    }
    let guarded = 0
    for (const [path, methods] of Object.entries(paths))
      for (const [method, { security }] of Object.entries(methods)) {
        const url = path.replaceAll(/\{\w+\}/g, 'sst2')
        const response = await running.app.inject({ method: method as 'GET', url })
        if (security) {
          assert.deepEqual([path.startsWith('/health/'), response.statusCode], [true, 200])
          continue
        }
        guarded++
        assert.deepEqual([response.statusCode, response.headers['www-authenticate']], [401, 'Bearer realm="propetl"'])
      }
    assert.ok(guarded >= 36, `${guarded}`)
    assert.equal((await running.app.inject('/nowhere')).statusCode, 401)
    assert.equal((await running.app.inject('/docs/')).statusCode, 200)
  })
})
