// A server with HTTP workers, as users run it: real processes and real sockets.

import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { copyFile, rm, writeFile } from 'node:fs/promises'
import { Agent, type IncomingMessage, request as sendRequest } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connect as connectSecurely } from 'node:tls'
import { digestOf } from '../src/formats/digest.js'
import { root, shiftedTask, taskBytes, temporaryDirectory } from './material.js'
import { PostgresServer, withoutPostgres } from './postgres.js'
import { RawClient } from './raw-client.js'
import { failedStart, referenceFlags, start } from './server-process.js'

const operatorKey = 'an-operators-key-of-at-least-32-characters'

interface LogLine {
  readonly pid: number
  readonly msg: string
  readonly [field: string]: unknown
}

/** A server process and its log. */
class RunningServer {
  readonly lines: LogLine[] = []
  readonly exit: Promise<unknown[]>
  #added = () => {}

  constructor(readonly process: ChildProcess) {
    this.exit = once(process, 'exit')
    createInterface({ input: process.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      this.lines.push(JSON.parse(line) as LogLine)
      this.#added()
    })
  }

  static async start(flags: readonly string[], env: Record<string, string> = {}): Promise<RunningServer> {
    const own = await referenceFlags(await temporaryDirectory())
    const child = start([], [...own, '--http-workers', '2', ...flags], { env: { ...process.env, ...env } })
    const server = new RunningServer(child)
    await server.line(({ msg }) => msg === 'ready')
    return server
  }

  get url(): string {
    return String(this.lines.find(({ msg }) => msg === 'ready')?.address)
  }

  /** The first line of the log that matches, now or later. */
  async line(matches: (line: LogLine) => boolean): Promise<LogLine> {
    for (;;) {
      const found = this.lines.find(matches)
      if (found) return found
      const added = new Promise<void>((resolve) => {
        this.#added = resolve
      })
      const [ended] = await Promise.race([added.then(() => [false]), this.exit.then(() => [true])])
      if (ended) throw new Error(`the server exited; its log ends with ${JSON.stringify(this.lines.slice(-3))}`)
    }
  }
}

interface Sent {
  readonly method?: string
  readonly key?: string | undefined
  readonly body?: object | string | Uint8Array
  readonly headers?: Readonly<Record<string, string>>
}

interface Received {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
  readonly json: Record<string, unknown>
}

/** A client with a single connection, which one worker has accepted. */
class Client {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })

  constructor(readonly url: string) {}

  async send(path: string, { method, key = operatorKey, body, headers = {} }: Sent = {}): Promise<Received> {
    const isFile = body instanceof Uint8Array
    const sent = sendRequest(`${this.url}${path}`, {
      agent: this.#agent,
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      headers: {
        authorization: `Bearer ${key}`,
        ...(body !== undefined && { 'content-type': `application/${isFile ? 'octet-stream' : 'json'}` }),
        ...headers,
      },
    })
    sent.end(body === undefined || isFile || typeof body === 'string' ? body : JSON.stringify(body))
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    const received = await text(response)
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      text: received,
      json: /json/.test(response.headers['content-type'] ?? '') ? JSON.parse(received) : {},
    }
  }

  predict(task: string, key?: string, headers?: Sent['headers']): Promise<Received> {
    return this.send(`/tasks/${task}/predict`, {
      key,
      body: { inputs: 'a gorgeous film' },
      ...(headers && { headers }),
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}

/** One client for each worker, by the id of its process. */
async function clientsOf(server: RunningServer, count = 2): Promise<Map<number, Client>> {
  const clients = new Map<number, Client>()
  while (clients.size < count) {
    const client = new Client(server.url)
    const id = crypto.randomUUID()
    await client.predict('sst2', operatorKey, { 'x-request-id': id })
    const { pid } = await server.line((line) => line.request_id === id)
    if (clients.has(pid)) client.close()
    else clients.set(pid, client)
  }
  return clients
}

/** What the kernel says about a process; empty after its end. */
function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return ''
  }
}

/** A zombie has ended, too. */
const isRunning = (pid: number): boolean => /^State:\s+[^Z]/m.test(statusOf(pid))

async function untilEnded(pids: Iterable<number>): Promise<void> {
  for (const pid of pids) while (isRunning(pid)) await delay(20)
}

/** Sends predictions on many connections until it is stopped. */
function load(url: string, connections: number) {
  const counts = { answered: 0, failed: 0, lost: 0 }
  let stopped = false
  const clients = Array.from({ length: connections }, () => new Client(url))
  const ended = Promise.all(
    clients.map(async (client) => {
      while (!stopped)
        try {
          const { status } = await client.predict('sst2')
          if (status === 200) counts.answered++
          else counts.failed++
        } catch {
          counts.lost++
          await delay(10)
        }
    }),
  )
  return {
    counts,
    async stop() {
      stopped = true
      await ended
      for (const client of clients) client.close()
    },
  }
}

describe('a server with two HTTP workers', () => {
  let server: RunningServer
  let clients: Map<number, Client>
  let each: Client[]
  const newTenant = async (id: string, settings: object) => {
    const [client] = each
    assert.equal((await client?.send(`/tenants/${id}`, { method: 'PUT', body: settings }))?.status, 201)
    const made = await client?.send(`/tenants/${id}/keys`, { body: {} })
    return made?.json as { key: string; id: string }
  }
  before(async () => {
    server = await RunningServer.start(['--cors-origins', 'https://app.example.com', '--max-upload-bytes', '2000000'], {
      PROPETL_OPERATOR_KEY: operatorKey,
    })
    clients = await clientsOf(server)
    each = [...clients.values()]
  })

  test('serves predictions in the workers, and everything else in the primary process', async () => {
    const primary = server.process.pid
    for (const [pid, client] of clients) {
      assert.notEqual(pid, primary)
      for (const [path, body, by] of [
        ['/predict', { inputs: [{ task: 'sst2', text: 'a film' }] }, pid],
        ['/tasks', undefined, primary],
        ['/health/ready', undefined, primary],
      ] as const) {
        const id = crypto.randomUUID()
        const response = await client.send(path, { headers: { 'x-request-id': id }, ...(body && { body }) })
        assert.deepEqual([response.status, response.headers['x-request-id']], [200, id])
        if (path !== '/health/ready') assert.equal((await server.line((line) => line.request_id === id)).pid, by)
        else assert.deepEqual(response.json.http_workers, { configured: 2, available: 2 })
      }
    }
  })

  test('gives the responses of a server without workers to requests that are passed on', async () => {
    const [client] = each
    assert.ok(client)
    const notAllowed = await client.send('/tasks/sst2/predict')
    assert.deepEqual([notAllowed.status, notAllowed.headers.allow], [405, 'POST'])
    assert.equal((await client.send('/nowhere')).json.code, 'not_found')
    assert.equal((await client.send('/tasks', { key: 'wrong' })).status, 401)
    const head = await client.send('/tasks/sst2/file', { method: 'HEAD' })
    assert.deepEqual(
      [head.status, head.text, head.headers['content-length']],
      [200, '', String(taskBytes('sst2').length)],
    )
    assert.equal((await client.send('/tasks/%73st2/predict', { body: { inputs: 'a' } })).status, 200)
    const preflight = await client.send('/tasks/sst2/predict', {
      method: 'OPTIONS',
      headers: { origin: 'https://app.example.com', 'access-control-request-method': 'POST' },
    })
    assert.deepEqual(
      [preflight.status, preflight.headers['access-control-allow-origin']],
      [204, 'https://app.example.com'],
    )
    const fromPage = await client.predict('sst2', operatorKey, { origin: 'https://app.example.com' })
    assert.equal(fromPage.headers['access-control-allow-origin'], 'https://app.example.com')
    const large = await client.send('/tasks/large', { method: 'PUT', body: Buffer.alloc(2_000_001) })
    assert.equal(large.json.code, 'body_too_large')
    const announced = new RawClient(server.url).send(
      `PUT /tasks/large HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${operatorKey}\r\n` +
        'content-type: application/octet-stream\r\ncontent-length: 1000000000000\r\n\r\n',
    )
    assert.equal((await announced.first(1))[0]?.status, 413)
    const [http10] = await new RawClient(server.url).send('GET / HTTP/1.0\r\n\r\n').responses()
    assert.deepEqual([http10?.status, /"name":"propetl"/.test(http10?.body ?? '')], [200, true])
  })

  test('makes an upload live for every worker before it is acknowledged, and a removal too', async () => {
    const file = taskBytes('sst2')
    for (let round = 0; round < 10; round++) {
      const uploader = each[round % 2]
      const put = await uploader?.send('/tasks/mine', { method: 'PUT', body: shiftedTask(file, round) })
      assert.equal(put?.status, round === 0 ? 201 : 200)
      const responses = await Promise.all(each.map((client) => client.predict('mine')))
      for (const { status, json } of responses) assert.deepEqual([status, json.version], [200, put?.json.version])
    }
    const removed = await each[0]?.send('/tasks/mine', { method: 'DELETE' })
    assert.equal(removed?.status, 204)
    for (const client of each) assert.equal((await client.predict('mine')).json.code, 'unknown_task')
  })

  test('serves versions and candidates in every worker, and counts the comparisons of all of them', async () => {
    const [first] = each
    assert.ok(first)
    const files = [0, 1].map((shift) => shiftedTask(taskBytes('sst2'), shift))
    const digests = files.map((file) => digestOf(file))
    for (const file of files) await first.send('/tasks/versions', { method: 'PUT', body: file })
    const put = (body: object) => first.send('/tasks/versions/active', { method: 'PUT', body })
    const compared = async () => {
      const { candidate } = (await first.send('/tasks/versions/versions')).json
      return (candidate as { compared: number; differ: number }).compared
    }
    const versionAt = async (client: Client, query: string, inputs = 'a gorgeous film') =>
      (await client.send(`/tasks/versions/predict${query}`, { body: { inputs } })).json.version
    for (const client of each) {
      assert.equal(await versionAt(client, '?version=1'), digests[0])
      assert.equal(await versionAt(client, ''), digests[1])
      assert.equal((await client.send('/tasks/versions/predict?version=3', { body: { inputs: 'a' } })).status, 404)
    }
    assert.equal((await put({ version: 1, share: 0.5 })).status, 200)
    const texts = Array.from({ length: 20 }, (_, i) => `film ${i}`)
    const shared = await Promise.all(
      each.map((client) => Promise.all(texts.map((text) => versionAt(client, '', text)))),
    )
    assert.deepEqual(shared[0], shared[1])
    assert.deepEqual(new Set(shared[0]), new Set(digests))
    assert.equal((await put({ version: 1, shadow: true })).status, 200)
    let total = 0
    for (const client of each) {
      const before = total
      for (let tries = 0; total === before && tries < 200; tries++) {
        assert.equal(await versionAt(client, ''), digests[1])
        await delay(100)
        total = await compared()
      }
      assert.ok(total > before, 'a worker compared nothing')
    }
    assert.match((await first.send('/metrics')).text, /^propetl_shadow_predictions_total\{outcome="same"\} [1-9]/m)
    for (const client of each) {
      await put({ version: 1 })
      assert.equal(await versionAt(client, ''), digests[0])
      await put({ version: 2 })
      assert.equal(await versionAt(client, ''), digests[1])
    }
    assert.equal((await first.send('/tasks/versions', { method: 'DELETE' })).status, 204)
  })

  test('accepts an upload in chunks after 100 Continue, and rejects one in tiny pieces', async () => {
    const file = taskBytes('sst2')
    const upload = (headers: string) =>
      `PUT /tasks/chunked HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${operatorKey}\r\n` +
      `content-type: application/octet-stream\r\n${headers}\r\n\r\n`
    const client = new RawClient(server.url).send(upload('transfer-encoding: chunked\r\nexpect: 100-continue'))
    assert.equal((await client.first(1))[0]?.status, 100)
    const half = Math.floor(file.length / 2)
    for (const piece of [file.subarray(0, half), file.subarray(half)])
      client
        .send(`${piece.length.toString(16)}\r\n`)
        .send(piece)
        .send('\r\n')
    assert.equal((await client.send('0\r\n\r\n').first(2))[1]?.status, 201)
    const tiny = new RawClient(server.url).send(upload('transfer-encoding: chunked'))
    const responses = await tiny.send('1\r\nx\r\n'.repeat(20_000)).responses()
    assert.deepEqual(
      responses.map(({ status }) => status),
      [400],
    )
    assert.match(responses[0]?.body ?? '', /too many tiny chunks/)
  })

  test('takes a file of examples, and passes on the events of a job while it runs', async () => {
    const [client] = each
    const file = { body: readFileSync(join(root, 'examples/tickets.csv')), headers: { 'content-type': 'text/csv' } }
    const posted = await client?.send('/tasks/trained/examples', file)
    assert.deepEqual([posted?.status, posted?.json.added], [200, 200])
    const made = await client?.send('/tasks/trained/learn', { body: {} })
    assert.equal(made?.status, 202)
    const job = `/jobs/${made?.json.id}`
    const response = await fetch(`${server.url}${job}/events`, { headers: { authorization: `Bearer ${operatorKey}` } })
    const states: string[] = []
    for await (const piece of response.body ?? []) {
      // The job ends only after the first event has arrived.
      if (states.length === 0) assert.equal((await client?.send(job, { method: 'DELETE' }))?.status, 204)
      for (const [, state = ''] of Buffer.from(piece)
        .toString()
        .matchAll(/"state":"(\w+)"/g))
        states.push(state)
    }
    assert.ok(['queued', 'running'].includes(states[0] ?? ''))
    assert.equal(states.at(-1), 'cancelled')
  })

  test('rejects a revoked key at every worker from then on', async () => {
    const { key, id } = await newTenant('revoked', {})
    for (const client of each) assert.equal((await client.predict('sst2', key)).status, 200)
    assert.equal((await each[0]?.send(`/tenants/revoked/keys/${id}`, { method: 'DELETE' }))?.status, 204)
    for (const client of each) assert.equal((await client.predict('sst2', key)).status, 401)
  })

  test('holds rate limits and quotas over all workers', async () => {
    const perSecond = 4
    const { key } = await newTenant('limited', { limits: { requests_per_second: perSecond, tasks: 1 } })
    const startedAt = performance.now()
    const responses = await Promise.all(Array.from({ length: 20 }, (_, i) => each[i % 2]?.predict('sst2', key)))
    const most = perSecond + Math.ceil(((performance.now() - startedAt) * perSecond) / 1000)
    const accepted = responses.filter((response) => response?.status === 200)
    assert.ok(accepted.length >= perSecond && accepted.length <= most, `${accepted.length} of at most ${most}`)
    for (const response of responses) assert.match(String(response?.headers.ratelimit), /^"requests";r=\d+;t=\d+$/)
    await delay(1_000)
    const upload = (client: Client, id: string) =>
      client.send(`/tasks/${id}`, { method: 'PUT', key, body: taskBytes('sst2') })
    const uploads = await Promise.all(each.map((client, i) => upload(client, `t${i}`)))
    assert.deepEqual(uploads.map(({ status }) => status).sort(), [201, 403])
  })

  test('counts the requests of all workers in the metrics', async () => {
    const { key } = await newTenant('counted', {})
    const own = async () => (await each[0]?.send('/metrics'))?.text ?? ''
    const predictions = (metrics: string) =>
      Number(
        /^propetl_http_request_duration_seconds_count\{method="POST",route="\/tasks\/:id\/predict",status="200"\} (\d+)$/m.exec(
          metrics,
        )?.[1],
      )
    const before = predictions(await own())
    const sent = 30
    await Promise.all(Array.from({ length: sent }, (_, i) => each[i % 2]?.predict('sst2', key)))
    const metrics = await own()
    assert.equal(predictions(metrics) - before, sent)
    assert.match(metrics, new RegExp(`^propetl_tenant_requests_total\\{tenant="counted",status="200"\\} ${sent}$`, 'm'))
    // "a gorgeous film" has five tokens with special tokens.
    assert.match(metrics, new RegExp(`^propetl_tenant_tokens_total\\{tenant="counted"\\} ${5 * sent}$`, 'm'))
    assert.equal([...metrics.matchAll(/^process_start_time_seconds /gm)].length, 1)
  })

  test('survives a worker that is killed under load, and replaces it', async () => {
    const [[victim, lost], [, other]] = [...clients] as [[number, Client], [number, Client]]
    const { counts, stop } = load(server.url, 8)
    await delay(300)
    process.kill(victim, 'SIGKILL')
    await server.line(
      ({ msg, worker }) => msg === 'an HTTP worker has ended; a new one is started' && worker === victim,
    )
    for (let i = 0; i < 5; i++) assert.equal((await other.predict('sst2')).status, 200)
    const { worker } = await server.line(({ msg }) => msg === 'a new HTTP worker has started')
    await stop()
    lost.close()
    assert.ok(counts.answered > 0)
    assert.equal(counts.failed, 0)
    assert.ok(counts.lost <= 8 * 2, `${counts.lost} requests were lost`)
    const ready = await other.send('/health/ready')
    assert.deepEqual(ready.json.http_workers, { configured: 2, available: 2 })
    const metrics = (await other.send('/metrics')).text
    assert.match(metrics, /^propetl_http_workers_lost_total 1$/m)
    assert.match(metrics, /^propetl_queue_rows 0$/m)
    assert.doesNotMatch(metrics, /^propetl_memory_held_bytes\{use="(bodies|answers|tasks)"\} [1-9]/m)
    clients = await clientsOf(server)
    assert.ok(clients.has(Number(worker)))
    each = [...clients.values()]
  })

  test('answers every request that a worker has accepted when it stops', async () => {
    const requests = Array.from({ length: 40 }, () => {
      const body = JSON.stringify({ inputs: Array.from({ length: 8 }, () => 'a gorgeous film') })
      return new RawClient(server.url).send(
        `POST /tasks/sst2/predict HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${operatorKey}\r\n` +
          `x-request-id: stopping\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      )
    })
    await server.line(({ request_id }) => request_id === 'stopping')
    server.process.kill('SIGTERM')
    const statuses = (await Promise.all(requests.map((request) => request.responses()))).map(([first]) => first?.status)
    assert.deepEqual(
      statuses,
      requests.map(() => 200),
    )
    assert.deepEqual(await server.exit, [0, null])
    await untilEnded(clients.keys())
  })
})

describe('a server with two HTTP workers, when parts of it are lost', () => {
  let server: RunningServer
  let masks: string
  let temporary: string
  before(async () => {
    ;[masks, temporary] = await Promise.all([temporaryDirectory(), temporaryDirectory()])
    server = await RunningServer.start(['--masks-dir', masks], { TMPDIR: temporary })
    const file = taskBytes('sst2')
    assert.equal((await new Client(server.url).send('/tasks/sst2', { method: 'PUT', body: file })).status, 201)
  })

  test('serves with the other worker while one cannot start, and tries again', async () => {
    const [victim = 0] = childrenOf(server.process.pid)
    await writeFile(join(masks, 'broken.safetensors'), 'not a task file')
    process.kill(victim, 'SIGKILL')
    await server.line(({ reason }) => /broken\.safetensors/.test(String(reason)))
    for (let i = 0; i < 3; i++) assert.equal((await new Client(server.url).predict('sst2')).status, 200)
    await rm(join(masks, 'broken.safetensors'))
    await server.line(({ msg }) => msg === 'a new HTTP worker has started')
  })

  test('serves on the same port again after all workers have ended', async () => {
    const before = server.lines.length
    for (const pid of childrenOf(server.process.pid)) process.kill(pid, 'SIGKILL')
    const started = () => server.lines.slice(before).filter(({ msg }) => msg === 'a new HTTP worker has started').length
    while (started() < 2) await delay(50)
    assert.equal((await new Client(server.url).predict('sst2')).status, 200)
  })

  test('keeps its port while another server tries to listen on it, which says why it cannot', async () => {
    const { port } = new URL(server.url)
    const flags = await referenceFlags(await temporaryDirectory())
    const { code, output } = await failedStart(start([], [...flags, '--http-workers', '2', '--port', port]))
    assert.equal(code, 1)
    assert.match(output, /cannot listen on 127\.0\.0\.1:\d+.*another --port/)
    assert.equal((await new Client(server.url).predict('sst2')).status, 200)
  })

  test('predicts without the private socket of the application, and rejects other requests', async () => {
    const [sockets = ''] = readdirSync(temporary).filter((name) => name.startsWith('propetl-'))
    await rm(join(temporary, sockets, 'http'))
    const client = new Client(server.url)
    assert.equal((await client.predict('sst2')).status, 200)
    const { status, json } = await client.send('/tasks')
    assert.deepEqual([status, json.code], [503, 'engine_lost'])
  })

  test('leaves no worker and no socket behind when it is killed under load', async () => {
    const workers = childrenOf(server.process.pid)
    assert.equal(workers.length, 2)
    const { stop } = load(server.url, 4)
    await delay(200)
    server.process.kill('SIGKILL')
    await untilEnded(workers)
    await stop()
    assert.deepEqual(
      readdirSync(temporary).filter((name) => name.startsWith('propetl-')),
      [],
    )
  })
})

type Outcome = 'served' | 'closed'

/** What becomes of a request on a connection of its own. */
async function outcomeAt(url: string): Promise<Outcome> {
  const client = new Client(url)
  try {
    const { status } = await client.predict('sst2')
    assert.equal(status, 200)
    return 'served'
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error
    return 'closed'
  } finally {
    client.close()
  }
}

describe('a connection that is being handed to a worker', { timeout: 120_000 }, () => {
  let server: RunningServer
  before(async () => {
    server = await RunningServer.start([])
  })
  const workers = () => childrenOf(server.process.pid)
  /** Kills workers, and waits until others have replaced them. */
  const replace = async (pids: readonly number[]) => {
    const started = () => server.lines.filter(({ msg }) => msg === 'a new HTTP worker has started').length
    const before = started()
    for (const pid of pids) process.kill(pid, 'SIGKILL')
    while (started() < before + pids.length) await delay(50)
  }

  test('goes to another worker when that worker is killed', async () => {
    const [stopped = 0] = workers()
    process.kill(stopped, 'SIGSTOP')
    const outcomes: Outcome[] = []
    const all = Array.from({ length: 4 }, async () => outcomes.push(await outcomeAt(server.url)))
    while (outcomes.length < 3) await delay(20)
    await delay(200)
    // The stopped worker was the next in turn for one of them.
    assert.equal(outcomes.length, 3)
    await replace([stopped])
    await Promise.all(all)
    assert.deepEqual(outcomes, ['served', 'served', 'served', 'served'])
  })

  test('gets a response or is closed while workers are killed under load', async () => {
    const counts = { served: 0, closed: 0 }
    let loading = true
    const clients = Array.from({ length: 8 }, async () => {
      while (loading) counts[await outcomeAt(server.url)]++
    })
    for (let round = 0; round < 2; round++) await replace(workers().slice(0, 1))
    loading = false
    await Promise.all(clients)
    assert.ok(counts.served > counts.closed, JSON.stringify(counts))
  })

  test('is closed or served when all workers are killed', async () => {
    const stopped = workers()
    for (const pid of stopped) process.kill(pid, 'SIGSTOP')
    const outcomes = Promise.all(Array.from({ length: 4 }, () => outcomeAt(server.url)))
    await delay(200)
    await replace(stopped)
    assert.equal((await outcomes).length, 4)
    assert.equal(await outcomeAt(server.url), 'served')
  })

  test('is closed if that worker has no free file descriptor, and the worker gets connections again later', async () => {
    const [limited = 0] = workers()
    const [, soft, hard] = /^Max open files +(\d+) +(\d+)/m.exec(readFileSync(`/proc/${limited}/limits`, 'utf8')) ?? []
    const allowFiles = (count: string) => execFileSync('prlimit', ['--pid', `${limited}`, `--nofile=${count}:${hard}`])
    allowFiles('3')
    const outcomes = await Promise.all(Array.from({ length: 2 }, () => outcomeAt(server.url)))
    assert.deepEqual(outcomes.sort(), ['closed', 'served'])
    allowFiles(`${soft}`)
    assert.ok((await clientsOf(server)).has(limited))
    server.process.kill('SIGTERM')
    assert.deepEqual(await server.exit, [0, null])
  })
})

/** The processes that a process has started. */
const childrenOf = (parent: number | undefined): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => Number(/^PPid:\s+(\d+)/m.exec(statusOf(pid))?.[1]) === parent)

test('workers of a replica read its mirror, and the next one after it was rebuilt', {
  skip: withoutPostgres,
}, async () => {
  const postgres = await PostgresServer.start()
  const dataDir = await temporaryDirectory()
  const server = await RunningServer.start(['--data-dir', dataDir], { PROPETL_DATABASE_URL: postgres.url() })
  const each = [...(await clientsOf(server)).values()]
  const checkUpload = async (shift: number) => {
    const put = await each[0]?.send('/tasks/mine', { method: 'PUT', body: shiftedTask(taskBytes('sst2'), shift) })
    for (const client of each) assert.equal((await client.predict('mine')).json.version, put?.json.version)
  }
  await checkUpload(1)
  await rm(join(dataDir, 'mirror.lmdb'))
  await server.line(({ msg }) => /the mirror .*may be wrong/.test(msg))
  while (!/^propetl_mirror_copies_total 2$/m.test((await each[0]?.send('/metrics'))?.text ?? '')) await delay(100)
  await checkUpload(2)
  server.process.kill('SIGTERM')
  assert.deepEqual(await server.exit, [0, null])
})

test('a renewed certificate and a reloaded log level reach every worker', async () => {
  const directory = await temporaryDirectory()
  const pem = (name: string) => join(root, 'test/fixtures/tls', `${name}.pem`)
  const [cert, key, file] = ['cert.pem', 'key.pem', 'settings'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ]
  await copyFile(pem('first.cert'), cert)
  await copyFile(pem('first.key'), key)
  await writeFile(file, '')
  const flags = ['--tls-cert', cert, '--tls-key', key, '--settings-file', file, '--http-workers', '3']
  const server = await RunningServer.start(flags)
  assert.ok(server.lines.some(({ msg }) => msg === 'there are more HTTP workers than cores'))
  const nameOnNewConnection = async () => {
    const { port } = new URL(server.url)
    const socket = connectSecurely({ port: Number(port), host: '127.0.0.1', rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const { CN } = socket.getPeerCertificate().subject
    socket.destroy()
    return CN
  }
  const names = () => Promise.all(Array.from({ length: 20 }, nameOnNewConnection))
  const [before] = await names()
  await copyFile(pem('second.cert'), cert)
  await copyFile(pem('second.key'), key)
  await writeFile(file, 'PROPETL_LOG_LEVEL=debug')
  server.process.kill('SIGHUP')
  await server.line(({ msg }) => msg === 'the certificate was renewed')
  await delay(200)
  const after = new Set(await names())
  assert.equal(after.size, 1)
  assert.ok(!after.has(before))
  server.process.kill('SIGTERM')
  assert.deepEqual(await server.exit, [0, null])
})
