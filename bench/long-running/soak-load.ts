// The mixed load of the soak benchmark: clients that predict, upload, replace, remove, list, read metrics, send invalid
// requests and abort. Each client chooses its next action at random. Runs as a forked process.

import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { bundledTasks } from '../support/material.js'
import {
  anyBundled,
  anyInput,
  Counts,
  checkUpload,
  newUpload,
  randomOf,
  SoakClient,
  type Tally,
  type Upload,
} from './soak-client.js'

export interface SoakLoad {
  readonly url: string
  readonly clients: number
  /** Number of uploaded tasks that each client keeps. */
  readonly uploads: number
  /** Largest allowed difference of the logits of one text between batches. */
  readonly tolerance: number
  /** Set if the server requires API keys. The clients then belong to tenants. */
  readonly operatorKey?: string
}

const meanPauseMs = 250
const tenants = ['north', 'south', 'east']
/** A task that several clients upload and remove at the same time. */
const contended = 'contended'

const counts = new Counts()
let stopping = false
let running: Promise<unknown> = Promise.resolve()

process.on('disconnect', () => process.exit())
process.on('message', (message: SoakLoad | { stop: true }) => {
  if ('stop' in message) {
    stopping = true
    void running.then(() => process.send?.({ ...counts } satisfies Tally))
  } else running = start(message)
})

async function start(load: SoakLoad): Promise<void> {
  const operator = new SoakClient(load.url, counts, load.operatorKey)
  const keys =
    load.operatorKey === undefined ? undefined : await Promise.all(tenants.map((id) => newTenant(operator, id)))
  await Promise.all(
    Array.from({ length: load.clients }, (_, index) =>
      new LoadClient(load, index, new SoakClient(load.url, counts, keys?.[index % keys.length]), operator).run(),
    ),
  )
}

/** Creates a tenant. @returns an API key of the tenant */
async function newTenant(operator: SoakClient, id: string): Promise<string> {
  const limits = { tasks: 100_000, bytes: 1e12, requests_per_second: 100_000, tokens_per_second: 100_000_000 }
  await operator.request('create tenant', ['201'], { method: 'PUT', path: `/tenants/${id}`, body: { limits } })
  const { body } = await operator.request('create key', ['201'], { path: `/tenants/${id}/keys`, body: {} })
  return (body as { key: string }).key
}

/** An action of a client. Its probability is proportional to its weight. */
type Action = readonly [weight: number, action: () => Promise<unknown>]

class LoadClient {
  readonly #uploads: Upload[] = []
  #created = 0

  constructor(
    readonly load: SoakLoad,
    readonly index: number,
    readonly client: SoakClient,
    readonly operator: SoakClient,
  ) {}

  readonly #actions: readonly Action[] = [
    [30, () => this.#predictBundled()],
    [10, () => this.#predictMany(randomOf([2, 4, 8, 16]))],
    [10, () => this.#predictMixed()],
    [14, () => this.#predictUploaded()],
    [6, () => this.#upload()],
    [4, () => this.#replace()],
    [2, () => this.#removeDuringPredictions()],
    [2, () => this.#changeContended()],
    [3, () => this.#request('list', ['200'], { path: `/tasks?limit=${randomOf([1, 20, 1000])}` })],
    [3, () => this.#describe()],
    [2, () => this.#download()],
    [1, () => this.operator.request('metrics', ['200'], { path: '/metrics' })],
    [
      2,
      () =>
        this.#request('predict with an unknown task', ['404 unknown_task'], predictionOf('never-there', ['a text'])),
    ],
    [4, () => this.#sendInvalid()],
    [4, () => this.#abortPrediction()],
    [2, () => this.#abortUpload()],
    [3, () => this.#predictWithShortTimeout()],
  ]
  readonly #keyedActions: readonly Action[] = [
    [1, () => this.#createAndRemoveTenant()],
    [2, () => this.#sendUnknownKey()],
  ]

  async run(): Promise<void> {
    while (this.#uploads.length < this.load.uploads && !stopping) await this.#put(this.#next(), ['201'])
    const actions = this.load.operatorKey === undefined ? this.#actions : [...this.#actions, ...this.#keyedActions]
    const drawn = actions.flatMap(([weight, action]) => Array.from({ length: weight }, () => action))
    while (!stopping) {
      await randomOf(drawn)()
      await pause(2 * meanPauseMs * Math.random())
    }
  }

  readonly #request: SoakClient['request'] = (what, expected, request) => this.client.request(what, expected, request)

  #predictBundled(): Promise<unknown> {
    const task = anyBundled()
    return this.#request('predict one text', ['200'], predictionOf(task, anyInput(task)))
  }

  #predictMany(count: number): Promise<unknown> {
    const task = anyBundled()
    const inputs = Array.from({ length: count }, () => anyInput(task))
    return this.#request('predict many texts', ['200'], predictionOf(task, inputs))
  }

  #predictMixed(): Promise<unknown> {
    const own = randomOf(this.#uploads)
    const inputs = [
      ...bundledTasks.map((task) => ({ task, ...anyInput(task) })),
      { task: own.id, ...anyInput(own.bundled) },
    ]
    return this.#request('predict texts of all tasks', ['200'], { path: '/predict', body: { inputs, top_k: 1 } })
  }

  #predictUploaded(): Promise<void> {
    return checkUpload(this.client, 'predict with an upload', [randomOf(this.#uploads)], this.load.tolerance)
  }

  /** Uploads a task, uses it at once, and removes the oldest task. */
  async #upload(): Promise<void> {
    const fresh = this.#next()
    await this.#put(fresh, ['201'])
    await checkUpload(this.client, 'predict right after upload', [fresh], this.load.tolerance)
    const oldest = this.#uploads.shift()
    if (oldest) await this.#remove('remove', oldest)
  }

  /** Replaces a task while requests to its old version are in progress. */
  async #replace(): Promise<void> {
    const place = Math.floor(Math.random() * this.#uploads.length)
    const old = this.#uploads[place]
    if (old === undefined) return
    const fresh = this.#next(old.id)
    const kind = 'predict during replacement'
    const predictions = Array.from({ length: 2 }, () =>
      this.#request(kind, ['200'], predictionOf(old.id, anyInput(old.bundled))),
    )
    const versions = new Set([old.version, fresh.version])
    this.#uploads.splice(place, 1)
    await this.#put(fresh, ['200'], { 'if-match': `"${old.version}"` })
    for (const { status, body } of await Promise.all(predictions)) {
      const { version } = (body ?? {}) as { version?: string }
      if (status === 200 && !versions.has(version ?? ''))
        this.client.counts.countWrong(kind, `version ${version} is neither the old nor the new one`)
    }
    await this.#request('replace an outdated version', ['412 precondition_failed'], {
      method: 'PUT',
      path: `/tasks/${old.id}`,
      body: old.file,
      headers: { 'if-match': `"${old.version}"` },
    })
    await checkUpload(this.client, 'predict right after replacement', [fresh], this.load.tolerance)
  }

  async #removeDuringPredictions(): Promise<void> {
    const [removed] = this.#uploads.splice(Math.floor(Math.random() * this.#uploads.length), 1)
    if (removed === undefined) return
    const inputs = Array.from({ length: 4 }, () => anyInput(removed.bundled))
    const predictions = Array.from({ length: 4 }, () =>
      this.#request('predict during removal', ['200', '404 unknown_task'], predictionOf(removed.id, inputs)),
    )
    await this.#remove('remove during predictions', removed)
    await Promise.all(predictions)
    await this.#request('predict right after removal', ['404 unknown_task'], predictionOf(removed.id, inputs))
    await this.#put(this.#next(), ['201'])
  }

  /** Uploads, uses and removes a task that other clients change too. The requests may take effect in any order. */
  async #changeContended(): Promise<void> {
    const { bundled, file } = newUpload(contended, this.#uniqueNumber())
    const path = `/tasks/${contended}`
    await Promise.all([
      this.#request('upload a contended task', ['200', '201'], { method: 'PUT', path, body: file }),
      this.#request(
        'predict with a contended task',
        ['200', '404 unknown_task'],
        predictionOf(contended, anyInput(bundled).text),
      ),
      this.#request('remove a contended task', ['204', '404 unknown_task'], { method: 'DELETE', path }),
    ])
  }

  async #describe(): Promise<void> {
    const { id, version } = randomOf(this.#uploads)
    const path = `/tasks/${id}`
    await this.#request('describe', ['200'], { path })
    await this.#request('describe an unchanged task', ['304'], { path, headers: { 'if-none-match': `"${version}"` } })
  }

  #download(): Promise<unknown> {
    return this.#request('download', ['200'], { path: `/tasks/${randomOf(this.#uploads).id}/file` })
  }

  #sendInvalid(): Promise<unknown> {
    const task = anyBundled()
    const path = `/tasks/${task}/predict`
    const expect = (outcome: string, request: Parameters<SoakClient['request']>[2]) =>
      this.#request('invalid request', [outcome], request)
    return randomOf([
      () => expect('400 invalid_json', { path, body: '{"inputs": "cut o' }),
      () => expect('400 invalid_request', { path, body: { texts: 'a text' } }),
      () => expect('422 empty_text', predictionOf(task, '  ')),
      () => expect('422 threshold_not_taken', { path, body: { inputs: 'a text', threshold: 0.4 } }),
      () => expect('422 too_many_inputs', predictionOf(task, new Array<string>(300).fill('a text'))),
      () => expect('413 body_too_large', predictionOf(task, 'long '.repeat(300_000))),
      () => expect('415 unsupported_media_type', { path, body: new Uint8Array(10) }),
      () => expect('400 not_safetensors', { method: 'PUT', path: '/tasks/nonsense', body: new Uint8Array(5_000) }),
      () => expect('400 invalid_task_id', { method: 'DELETE', path: '/tasks/No%20Task' }),
      () => expect('409 task_read_only', { method: 'DELETE', path: `/tasks/${task}` }),
      () => expect('404 not_found', { path: '/nowhere' }),
    ])()
  }

  /** Aborts a request, in most cases before the response. */
  async #abortPrediction(): Promise<void> {
    const task = anyBundled()
    const inputs = Array.from({ length: 32 }, () => anyInput(task))
    const controller = new AbortController()
    const response = this.#request('predict and abort', ['aborted', '200'], {
      ...predictionOf(task, inputs),
      signal: controller.signal,
    })
    await pause(100 * Math.random())
    controller.abort()
    await response
  }

  /** Aborts an upload in the middle of its body. */
  async #abortUpload(): Promise<void> {
    const { hostname, port } = new URL(this.load.url)
    const socket = connect({ host: hostname, port: Number(port) })
    socket.on('error', () => {})
    const authorization = this.client.key === undefined ? '' : `authorization: Bearer ${this.client.key}\r\n`
    socket.write(
      `PUT /tasks/half HTTP/1.1\r\nhost: ${hostname}\r\ncontent-type: application/octet-stream\r\n${authorization}` +
        `content-length: 200000\r\n\r\n${'\0'.repeat(100_000)}`,
    )
    await pause(50 * Math.random())
    socket.destroy()
    this.client.counts.count('upload and abort', 'aborted')
  }

  /** Sends a short timeout: the server must respond in time or reject. */
  #predictWithShortTimeout(): Promise<unknown> {
    const task = anyBundled()
    return this.#request('predict with a short timeout', ['200', '429 overloaded', '504 deadline_exceeded'], {
      ...predictionOf(
        task,
        Array.from({ length: 8 }, () => anyInput(task)),
      ),
      headers: { 'x-request-timeout-ms': String(randomOf([1, 20, 100, 300])) },
    })
  }

  async #createAndRemoveTenant(): Promise<void> {
    const id = `guest-${this.index}-${this.#uniqueNumber()}`
    const path = `/tenants/${id}`
    const guest = new SoakClient(this.load.url, this.client.counts, await newTenant(this.operator, id))
    const upload = newUpload('guest-task', this.#uniqueNumber())
    await guest.request('upload', ['201'], { method: 'PUT', path: `/tasks/${upload.id}`, body: upload.file })
    await checkUpload(guest, 'predict right after upload', [upload], this.load.tolerance)
    await this.operator.request('describe tenant', ['200'], { path })
    await this.operator.request('remove tenant', ['204'], { method: 'DELETE', path })
    await guest.request('use the key of a removed tenant', ['401 unauthenticated'], { path: '/tasks' })
  }

  #sendUnknownKey(): Promise<unknown> {
    const key = randomOf(['none', 'propetl_no-such-key'])
    const client = new SoakClient(this.load.url, this.client.counts, key === 'none' ? undefined : key)
    return client.request('use an unknown key', ['401 unauthenticated'], predictionOf(anyBundled(), 'a text'))
  }

  async #put(
    upload: Upload,
    expected: readonly string[],
    headers: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const { id, file } = upload
    const replaced = expected.includes('200')
    const asForm = !replaced && Math.random() < 0.2
    const form = new FormData()
    form.append('id', id)
    form.append('file', new Blob([file]), 'file.safetensors')
    await this.#request(
      replaced ? 'replace' : asForm ? 'upload as a form' : 'upload',
      expected,
      asForm ? { path: '/tasks', body: form } : { method: 'PUT', path: `/tasks/${id}`, body: file, headers },
    )
    this.#uploads.push(upload)
  }

  #remove(kind: string, { id, version }: Upload): Promise<unknown> {
    return this.#request(kind, ['204'], {
      method: 'DELETE',
      path: `/tasks/${id}`,
      headers: { 'if-match': `"${version}"` },
    })
  }

  #next(id = `soak-${this.index}-${this.#created}`): Upload {
    return newUpload(id, this.#uniqueNumber())
  }

  /** A number that is unique over all clients and calls. */
  #uniqueNumber(): number {
    return this.index + this.load.clients * this.#created++
  }
}

const predictionOf = (task: string, inputs: unknown) => ({ path: `/tasks/${task}/predict`, body: { inputs } })
