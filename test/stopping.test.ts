// SIGTERM while a server is busy. Accepted requests get a response, and no client can delay the shutdown forever.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request as httpRequest } from 'node:http'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { digestOf } from '../src/formats/digest.js'
import type { ClassificationResponse } from './http/running.js'
import { root, shiftedTask, taskBytes, temporaryDirectory } from './material.js'
import { PostgresServer, withoutPostgres } from './postgres.js'
import { RawClient, request } from './raw-client.js'
import { predict, put, ready, referenceFlags, serve, start } from './server-process.js'
import { TcpProxy } from './tcp-proxy.js'

interface ReceivedResponse {
  readonly status: number
  readonly body: string
}

/** A client with one keep-alive connection. */
class KeepAliveClient {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })

  constructor(readonly url: string) {}

  /** @returns undefined if the connection failed or was closed before the first byte of a response */
  send(method: string, path: string, type: string, body: string | Uint8Array): Promise<ReceivedResponse | undefined> {
    return new Promise((resolve, reject) => {
      const sent = httpRequest(`${this.url}${path}`, { method, agent: this.#agent, headers: { 'content-type': type } })
      let readBefore = 0
      sent.once('socket', (socket) => {
        readBefore = socket.bytesRead
      })
      sent.once('error', (error) => {
        if ((sent.socket?.bytesRead ?? 0) === readBefore) resolve(undefined)
        else reject(error)
      })
      sent.once('response', async (response) => {
        try {
          let text = ''
          for await (const piece of response) text += piece
          resolve({ status: response.statusCode ?? 0, body: text })
        } catch (error) {
          reject(error)
        }
      })
      sent.end(body)
    })
  }
}

describe('a server that gets SIGTERM', () => {
  test('under full load responds to every request that it read, keeps every acknowledged upload, and exits 0', async (t) => {
    const dataDir = await temporaryDirectory()
    const server = await serve(dataDir, '--engines', '2')
    const responses = { predictions: 0, uploads: 0 }
    const acknowledged = new Map<string, string>()
    let stopping = false
    const untilGone = async (send: (client: KeepAliveClient, count: number) => Promise<boolean>) => {
      const client = new KeepAliveClient(server.url)
      for (let count = 0; ; count++)
        if (!(await send(client, count))) {
          assert.ok(stopping, 'a request was lost before the server got SIGTERM')
          return
        }
    }
    const predicting = Array.from({ length: 60 }, (_, number) =>
      untilGone(async (client, count) => {
        const inputs = [`a gorgeous film, ${number}`, `dull and far too long, ${count}`]
        const body = JSON.stringify({ inputs })
        const response = await client.send('POST', '/tasks/sst2/predict', 'application/json', body)
        if (response === undefined) return false
        assert.equal(response.status, 200, response.body)
        assert.equal((JSON.parse(response.body) as ClassificationResponse).predictions.length, inputs.length)
        responses.predictions++
        return true
      }),
    )
    const uploading = Array.from({ length: 4 }, (_, number) =>
      untilGone(async (client, count) => {
        const [id, file] = [`upload-${number}-${count}`, shiftedTask(taskBytes('sst2'), count)]
        const response = await client.send('PUT', `/tasks/${id}`, 'application/octet-stream', file)
        if (response === undefined) return false
        assert.equal(response.status, 201, response.body)
        acknowledged.set(id, digestOf(file))
        responses.uploads++
        return true
      }),
    )
    while (responses.predictions < 200 || responses.uploads < 8) await delay(20)
    stopping = true
    server.process.kill('SIGTERM')
    await Promise.all([...predicting, ...uploading])
    assert.deepEqual(await server.exit, [0, null])
    t.diagnostic(`${responses.predictions} predictions and ${responses.uploads} uploads got responses`)

    const again = await serve(dataDir)
    for (const [id, digest] of acknowledged)
      assert.equal((await fetch(`${again.url}/tasks/${id}`)).headers.get('etag'), `"${digest}"`, id)
    again.process.kill('SIGTERM')
    assert.deepEqual(await again.exit, [0, null])
  })

  test('is not delayed by clients that are silent or slow, or never read', async () => {
    const server = await serve(await temporaryDirectory(), '--shutdown-timeout-ms', '4000')
    assert.equal((await put(server.url, 'x', taskBytes('sst2'))).status, 201)
    const json = { 'content-type': 'application/json' }
    const stubborn = [
      '',
      'GET /tas',
      request('POST', '/tasks/sst2/predict', '', { ...json, 'content-length': '900' }),
      request('GET', '/tasks/trec/file').repeat(1_000),
    ].map((bytes) => new RawClient(server.url).send(bytes))
    for (const { socket } of stubborn) socket.pause()
    assert.equal((await predict(server.url, 'sst2')).status, 200)
    server.process.kill('SIGTERM')
    assert.deepEqual(await server.exit, [0, null])
  })

  test('responds to requests that arrived before SIGTERM, even if it had not read them yet', async () => {
    const server = await serve(await temporaryDirectory())
    const clients = Array.from({ length: 20 }, () => new RawClient(server.url))
    const [known = assert.fail()] = clients
    await known.send(request('GET', '/health/live')).first(1)
    // While the server is stopped, the kernel accepts connections and buffers what is sent.
    server.process.kill('SIGSTOP')
    const bytes = request('POST', '/tasks/sst2/predict', JSON.stringify({ inputs: 'a gorgeous film' }))
    await Promise.all(clients.map(({ socket }) => (socket.connecting ? once(socket, 'connect') : undefined)))
    const late = [...clients, ...Array.from({ length: 20 }, () => new RawClient(server.url))]
    await Promise.all(late.map(({ socket }) => (socket.connecting ? once(socket, 'connect') : undefined)))
    await Promise.all(late.map(({ socket }) => new Promise((resolve) => socket.write(bytes, resolve))))
    server.process.kill('SIGTERM')
    server.process.kill('SIGCONT')
    const responses = await Promise.all(late.map((client) => client.responses()))
    for (const all of responses) assert.equal(all.at(-1)?.status, 200)
    assert.deepEqual(await server.exit, [0, null])
  })

  test('responds to a change that waits for a frozen database, and exits 0', { skip: withoutPostgres }, async () => {
    const postgres = await PostgresServer.start()
    const proxy = await TcpProxy.start(postgres.port)
    const env = { ...process.env, PROPETL_DATABASE_URL: postgres.url('postgres', proxy.port) }
    const flags = [...(await referenceFlags(await temporaryDirectory())), '--shutdown-timeout-ms', '6000']
    const server = await ready(start([], flags, { env }))
    assert.equal((await put(server.url, 'before', taskBytes('sst2'))).status, 201)
    proxy.blackHole = true
    const upload = put(server.url, 'kept', taskBytes('sst2'))
    await delay(300)
    server.process.kill('SIGTERM')
    const response = await upload
    assert.equal(response.status, 503)
    assert.match(await response.text(), /"code":"(shutting_down|storage_unavailable|outcome_unknown)"/)
    assert.deepEqual(await server.exit, [0, null])
    proxy.close()
  })

  test('accepts a request on an open connection that is complete within half of the shutdown timeout', async () => {
    const server = await serve(await temporaryDirectory())
    const bytes = request('POST', '/tasks/sst2/predict', JSON.stringify({ inputs: 'a gorgeous film' }))
    const client = new RawClient(server.url).send(bytes.slice(0, -5))
    await delay(200)
    server.process.kill('SIGTERM')
    await delay(500)
    const [response] = await client.send(bytes.slice(-5)).responses()
    assert.equal(response?.status, 200)
    assert.match(response?.headers ?? '', /^connection: close\r$/m)
    assert.deepEqual(await server.exit, [0, null])
  })

  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    test(`that npm start runs exits 0 after ${signal}, and leaves no process`, {
      timeout: 120_000,
    }, async (t) => {
      const flags = ['--port', '0', '--provider', 'cpu', ...(await referenceFlags(await temporaryDirectory()))]
      const npm = spawn('npm', ['--silent', 'start', '--', ...flags], {
        cwd: root,
        // A process group of its own, so that all remaining processes can be killed.
        detached: true,
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const killGroup = () => {
        try {
          process.kill(-(npm.pid ?? assert.fail('npm did not start')), 'SIGKILL')
          return true
        } catch {
          return false
        }
      }
      t.after(killGroup)
      const { url, exit } = await ready(npm)
      assert.equal((await predict(url, 'sst2')).status, 200)
      npm.kill(signal)
      assert.deepEqual(await exit, [0, null])
      await assert.rejects(predict(url, 'sst2'))
      assert.equal(killGroup(), false, 'a process of the group was left')
    })
})
