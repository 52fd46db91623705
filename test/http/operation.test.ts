import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { before, describe, test } from 'node:test'
import { readConfig } from '../../src/config.js'
import { openCosts } from '../../src/costs/costs.js'
import { buildApp } from '../../src/http/app.js'
import { Metrics } from '../../src/http/metrics.js'
import { Lifecycle } from '../../src/http/services.js'
import { LocalInference } from '../../src/inference/local-inference.js'
import { singleUser } from '../../src/tenants/access.js'
import { Rates } from '../../src/tenants/rates.js'
import { predict, type Running, startRunning } from './running.js'

describe('health and metrics', () => {
  let running: Running
  before(async () => {
    running = await startRunning()
  })

  test('readiness reports the engine and the tasks', async () => {
    const ready = (await running.app.inject('/health/ready')).json<Record<string, unknown>>()
    assert.deepEqual([ready.status, ready.provider, ready.numerics, ready.tasks], ['ready', 'cpu', 'float32', 6])
    assert.equal((await running.app.inject('/health/live')).statusCode, 200)
  })

  test('metrics count requests, batches and tasks', async () => {
    await predict(running.app, 'sst2', { inputs: ['a film', 'another film'] })
    await predict(running.app, 'nope', { inputs: 'a film' })
    const text = (await running.app.inject('/metrics')).body
    const value = (name: string) =>
      Number(new RegExp(`^${name.replaceAll(/[{}"/:]/g, '\\$&')} (.+)$`, 'm').exec(text)?.[1])
    assert.equal(
      value('propetl_http_request_duration_seconds_count{method="POST",route="/tasks/:id/predict",status="200"}'),
      1,
    )
    assert.equal(
      value('propetl_http_request_duration_seconds_count{method="POST",route="/tasks/:id/predict",status="404"}'),
      1,
    )
    assert.deepEqual([value('propetl_batch_rows_sum'), value('propetl_batch_tasks_sum')], [2, 1])
    assert.equal(value('propetl_batch_tokens_sum'), 8)
    assert.deepEqual([value('propetl_bank_loads_total'), value('propetl_bank_evictions_total')], [1, 0])
    assert.deepEqual([value('propetl_registered_tasks'), value('propetl_queue_rows')], [6, 0])
    assert.equal(value('propetl_engine_info{provider="cpu"}'), 1)
    assert.ok(value('propetl_engine_busy_seconds_total') > 0)
    assert.ok(value('propetl_cache_bytes') > 18_432)
    assert.ok(value('process_resident_memory_bytes') > 1e8)
    assert.equal(value('propetl_queue_wait_seconds_count'), 2)
    assert.deepEqual([value('propetl_queue_oldest_seconds'), value('propetl_queue_estimated_wait_seconds')], [0, 0])
    assert.equal(value('propetl_batch_tokens_limit'), running.server.services.dispatcher.options.maxTokens)
  })

  test('the request id of the client is used if it is safe for a log, else a new one', async () => {
    const request = (id: string) => running.app.inject({ url: '/tasks/nope', headers: { 'x-request-id': id } })
    const response = await request('order-17')
    assert.equal(response.headers['x-request-id'], 'order-17')
    assert.equal(response.json<{ request_id: string }>().request_id, 'order-17')
    assert.ok(running.log.some((line) => line.request_id === 'order-17' && line.status === 404))
    assert.match((await request('a b')).headers['x-request-id'] as string, /^[0-9a-f-]{36}$/)
  })

  test('invalid HTTP gets a problem response', async () => {
    const { port } = new URL(running.server.address)
    const socket = connect(Number(port), '127.0.0.1')
    socket.end('NONSENSE\r\n\r\n')
    let response = ''
    for await (const piece of socket) response += piece
    assert.match(response, /^HTTP\/1.1 400 .*application\/problem\+json.*"code":"invalid_request"/s)
    assert.equal((await running.app.inject('/tasks/%zz')).json<{ code: string }>().code, 'invalid_request')
    assert.equal((await running.app.inject('/nowhere')).json<{ code: string }>().code, 'not_found')
  })
})

describe('before the model is loaded', () => {
  test('the server is live, is not ready, and says when to try again', async () => {
    const lifecycle = new Lifecycle()
    const metrics = new Metrics(lifecycle, 0)
    const config = readConfig({}, {})
    const inference = new LocalInference({ dispatcher: () => lifecycle.services.dispatcher, rates: new Rates() })
    const app = await buildApp({ config, costs: openCosts(config), lifecycle, metrics, access: singleUser, inference })
    assert.equal((await app.inject('/health/live')).statusCode, 200)
    for (const response of [
      await app.inject('/health/ready'),
      await app.inject('/tasks'),
      await predict(app, 'sst2', { inputs: 'a' }),
    ]) {
      assert.deepEqual([response.statusCode, response.json<{ code: string }>().code], [503, 'not_ready'])
      assert.equal(response.headers['retry-after'], '1')
    }
    assert.match((await app.inject('/metrics')).body, /^propetl_ready 0$/m)
    await app.close()
  })
})
