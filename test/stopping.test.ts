// SIGTERM while a server is at work: whoever was let in gets an answer, and nobody keeps it from ending.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request as ask } from 'node:http'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { digestOf } from '../src/formats/digest.js'
import type { ClassificationResponse } from './http/running.js'
import { root, shiftedTask, taskBytes, temporaryDirectory } from './material.js'
import { PostgresServer, withoutPostgres } from './postgres.js'
import { RawClient, request } from './raw-client.js'
import { predict, put, ready, referenceFlags, serve, start } from './server-process.js'
import { TcpProxy } from './tcp-proxy.js'

interface Answer {
  readonly status: number
  readonly body: string
}

/** A client with one connection, which it keeps. */
class KeepAliveClient {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })

  constructor(readonly url: string) {}

  /** @returns undefined if the connection was closed, or not made, without a byte of an answer */
  send(method: string, path: string, type: string, body: string | Uint8Array): Promise<Answer | undefined> {
    return new Promise((resolve, reject) => {
      const asked = ask(`${this.url}${path}`, { method, agent: this.#agent, headers: { 'content-type': type } })
      let readBefore = 0
      asked.once('socket', (socket) => {
        readBefore = socket.bytesRead
      })
      asked.once('error', (error) => {
        if ((asked.socket?.bytesRead ?? 0) === readBefore) resolve(undefined)
        else reject(error)
      })
      asked.once('response', async (response) => {
        try {
          let text = ''
          for await (const piece of response) text += piece
          resolve({ status: response.statusCode ?? 0, body: text })
        } catch (error) {
          reject(error)
        }
      })
      asked.end(body)
    })
  }
}

describe('a server that gets SIGTERM', () => {
  test('under full load answers every request that it took, keeps every upload that it acknowledged, and exits 0', async (t) => {
    const dataDir = await temporaryDirectory()
    const server = await serve(dataDir)
    const answered = { predictions: 0, uploads: 0 }
    const acknowledged = new Map<string, string>()
    let stopping = false
    const untilGone = async (send: (client: KeepAliveClient, count: number) => Promise<boolean>) => {
      const client = new KeepAliveClient(server.url)
      for (let count = 0; ; count++)
        if (!(await send(client, count))) {
          assert.ok(stopping, 'a request was lost before the server was told to stop')
          return
        }
    }
    const predicting = Array.from({ length: 60 }, (_, number) =>
      untilGone(async (client, count) => {
        const inputs = [`a gorgeous film, ${number}`, `dull and far too long, ${count}`]
        const body = JSON.stringify({ inputs })
        const answer = await client.send('POST', '/tasks/sst2/predict', 'application/json', body)
        if (answer === undefined) return false
        assert.equal(answer.status, 200, answer.body)
        assert.equal((JSON.parse(answer.body) as ClassificationResponse).predictions.length, inputs.length)
        answered.predictions++
        return true
      }),
    )
    const uploading = Array.from({ length: 4 }, (_, number) =>
      untilGone(async (client, count) => {
        const [id, file] = [`upload-${number}-${count}`, shiftedTask(taskBytes('sst2'), count)]
        const answer = await client.send('PUT', `/tasks/${id}`, 'application/octet-stream', file)
        if (answer === undefined) return false
        assert.equal(answer.status, 201, answer.body)
        acknowledged.set(id, digestOf(file))
        answered.uploads++
        return true
      }),
    )
    while (answered.predictions < 200 || answered.uploads < 8) await delay(20)
    stopping = true
    server.process.kill('SIGTERM')
    await Promise.all([...predicting, ...uploading])
    assert.deepEqual(await server.exit, [0, null])
    t.diagnostic(`${answered.predictions} predictions and ${answered.uploads} uploads were answered`)

    const again = await serve(dataDir)
    for (const [id, digest] of acknowledged)
      assert.equal((await fetch(`${again.url}/tasks/${id}`)).headers.get('etag'), `"${digest}"`, id)
    again.process.kill('SIGTERM')
    assert.deepEqual(await again.exit, [0, null])
  })

  test('is not kept by clients that are silent, slow, or never read', async () => {
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

  test('answers requests that arrived before it, though it had not read them yet', async () => {
    const server = await serve(await temporaryDirectory())
    const clients = Array.from({ length: 20 }, () => new RawClient(server.url))
    const [known = assert.fail()] = clients
    await known.send(request('GET', '/health/live')).first(1)
    // While it stands still, the kernel accepts connections and takes what is sent.
    server.process.kill('SIGSTOP')
    const bytes = request('POST', '/tasks/sst2/predict', JSON.stringify({ inputs: 'a gorgeous film' }))
    await Promise.all(clients.map(({ socket }) => (socket.connecting ? once(socket, 'connect') : undefined)))
    const late = [...clients, ...Array.from({ length: 20 }, () => new RawClient(server.url))]
    await Promise.all(late.map(({ socket }) => (socket.connecting ? once(socket, 'connect') : undefined)))
    await Promise.all(late.map(({ socket }) => new Promise((resolve) => socket.write(bytes, resolve))))
    server.process.kill('SIGTERM')
    server.process.kill('SIGCONT')
    const answers = await Promise.all(late.map((client) => client.responses()))
    for (const all of answers) assert.equal(all.at(-1)?.status, 200)
    assert.deepEqual(await server.exit, [0, null])
  })

  test('answers a change that a frozen database keeps waiting, and exits 0', { skip: withoutPostgres }, async () => {
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
    const answer = await upload
    assert.equal(answer.status, 503)
    assert.match(await answer.text(), /"code":"(shutting_down|storage_unavailable|outcome_unknown)"/)
    assert.deepEqual(await server.exit, [0, null])
    proxy.close()
  })

  test('takes what comes whole within half of its time on a connection that is open', async () => {
    const server = await serve(await temporaryDirectory())
    const bytes = request('POST', '/tasks/sst2/predict', JSON.stringify({ inputs: 'a gorgeous film' }))
    const client = new RawClient(server.url).send(bytes.slice(0, -5))
    await delay(200)
    server.process.kill('SIGTERM')
    await delay(500)
    const [answer] = await client.send(bytes.slice(-5)).responses()
    assert.equal(answer?.status, 200)
    assert.match(answer?.headers ?? '', /^connection: close\r$/m)
    assert.deepEqual(await server.exit, [0, null])
  })

  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    test(`by way of npm start stops and exits 0 after ${signal}; no process is left`, {
      timeout: 120_000,
    }, async (t) => {
      const flags = ['--port', '0', '--provider', 'cpu', ...(await referenceFlags(await temporaryDirectory()))]
      const npm = spawn('npm', ['--silent', 'start', '--', ...flags], {
        cwd: root,
        // A group of its own, so that whatever is left of it can be ended.
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
