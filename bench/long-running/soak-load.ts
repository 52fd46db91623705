// The mixed load of a soak: clients that predict, upload, replace, remove, list, scrape, ask for what is not there, send
// what is no request, and leave early; each as chance has it, with a pause between. Runs as a forked process.

import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { bundledTasks } from '../support/material.js'
import {
  any,
  anyBundled,
  anyInput,
  Counts,
  checkUpload,
  newUpload,
  SoakClient,
  type Tally,
  type Upload,
} from './soak-client.js'

export interface SoakLoad {
  readonly url: string
  readonly clients: number
  /** Uploads that each client keeps. */
  readonly uploads: number
  /** By how much logits of the same text may differ from batch to batch. */
  readonly tolerance: number
  /** Of a server that asks for keys; clients then belong to tenants. */
  readonly operatorKey?: string
}

const meanPauseMs = 250
const tenants = ['north', 'south', 'east']
/** A task that several clients upload and remove at once. */
const contended = 'contended'

const counts = new Counts()
let stopping = false
let running: Promise<unknown> = Promise.resolve()

// Nobody is left to stop it.
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
      new Visitor(load, index, new SoakClient(load.url, counts, keys?.[index % keys.length]), operator).run(),
    ),
  )
}

/** @returns a key of it */
async function newTenant(operator: SoakClient, id: string): Promise<string> {
  const limits = { tasks: 100_000, bytes: 1e12, requests_per_second: 100_000, tokens_per_second: 100_000_000 }
  await operator.ask('tenant, made', ['201'], { method: 'PUT', path: `/tenants/${id}`, body: { limits } })
  const { body } = await operator.ask('key, made', ['201'], { path: `/tenants/${id}/keys`, body: {} })
  return (body as { key: string }).key
}

/** What a client may do next, and how often it does. */
type Act = readonly [weight: number, act: () => Promise<unknown>]

class Visitor {
  readonly #uploads: Upload[] = []
  #made = 0

  constructor(
    readonly load: SoakLoad,
    readonly index: number,
    readonly client: SoakClient,
    readonly operator: SoakClient,
  ) {}

  readonly #acts: readonly Act[] = [
    [30, () => this.#predictBundled()],
    [10, () => this.#predictMany(any([2, 4, 8, 16]))],
    [10, () => this.#predictMixed()],
    [14, () => this.#predictUploaded()],
    [6, () => this.#upload()],
    [4, () => this.#replace()],
    [2, () => this.#removeWhileAsked()],
    [2, () => this.#contend()],
    [3, () => this.#ask('list', ['200'], { path: `/tasks?limit=${any([1, 20, 1000])}` })],
    [3, () => this.#describe()],
    [2, () => this.#download()],
    [1, () => this.operator.ask('metrics', ['200'], { path: '/metrics' })],
    [2, () => this.#ask('unknown task', ['404 unknown_task'], predictionOf('never-there', ['a text']))],
    [4, () => this.#sendNonsense()],
    [4, () => this.#leave()],
    [2, () => this.#leaveUpload()],
    [3, () => this.#hurry()],
  ]
  readonly #keyedActs: readonly Act[] = [
    [1, () => this.#tenantComesAndGoes()],
    [2, () => this.#strange()],
  ]

  async run(): Promise<void> {
    while (this.#uploads.length < this.load.uploads && !stopping) await this.#put(this.#next(), ['201'])
    const acts = this.load.operatorKey === undefined ? this.#acts : [...this.#acts, ...this.#keyedActs]
    const drawn = acts.flatMap(([weight, act]) => Array.from({ length: weight }, () => act))
    while (!stopping) {
      await any(drawn)()
      await pause(2 * meanPauseMs * Math.random())
    }
  }

  readonly #ask: SoakClient['ask'] = (what, expected, question) => this.client.ask(what, expected, question)

  #predictBundled(): Promise<unknown> {
    const task = anyBundled()
    return this.#ask('predict, one text', ['200'], predictionOf(task, anyInput(task)))
  }

  #predictMany(count: number): Promise<unknown> {
    const task = anyBundled()
    const inputs = Array.from({ length: count }, () => anyInput(task))
    return this.#ask('predict, many texts', ['200'], predictionOf(task, inputs))
  }

  #predictMixed(): Promise<unknown> {
    const own = any(this.#uploads)
    const inputs = [
      ...bundledTasks.map((task) => ({ task, ...anyInput(task) })),
      { task: own.id, ...anyInput(own.bundled) },
    ]
    return this.#ask('predict, texts of all tasks', ['200'], { path: '/predict', body: { inputs, top_k: 1 } })
  }

  #predictUploaded(): Promise<void> {
    return checkUpload(this.client, 'predict, an upload', [any(this.#uploads)], this.load.tolerance)
  }

  /** A new task, asked at once; the oldest makes room for it. */
  async #upload(): Promise<void> {
    const fresh = this.#next()
    await this.#put(fresh, ['201'])
    await checkUpload(this.client, 'predict, just uploaded', [fresh], this.load.tolerance)
    const oldest = this.#uploads.shift()
    if (oldest) await this.#remove('remove', oldest)
  }

  /** Another version of a task while the one before is asked. */
  async #replace(): Promise<void> {
    const place = Math.floor(Math.random() * this.#uploads.length)
    const old = this.#uploads[place]
    if (old === undefined) return
    const fresh = this.#next(old.id)
    const what = 'predict, being replaced'
    const asked = Array.from({ length: 2 }, () => this.#ask(what, ['200'], predictionOf(old.id, anyInput(old.bundled))))
    const versions = new Set([old.version, fresh.version])
    this.#uploads.splice(place, 1)
    await this.#put(fresh, ['200'], { 'if-match': `"${old.version}"` })
    for (const { status, body } of await Promise.all(asked)) {
      const { version } = (body ?? {}) as { version?: string }
      if (status === 200 && !versions.has(version ?? '')) this.client.counts.contradict(what, `version ${version}`)
    }
    await this.#ask('replace, a version too late', ['412 precondition_failed'], {
      method: 'PUT',
      path: `/tasks/${old.id}`,
      body: old.file,
      headers: { 'if-match': `"${old.version}"` },
    })
    await checkUpload(this.client, 'predict, just replaced', [fresh], this.load.tolerance)
  }

  async #removeWhileAsked(): Promise<void> {
    const [gone] = this.#uploads.splice(Math.floor(Math.random() * this.#uploads.length), 1)
    if (gone === undefined) return
    const inputs = Array.from({ length: 4 }, () => anyInput(gone.bundled))
    const asked = Array.from({ length: 4 }, () =>
      this.#ask('predict, being removed', ['200', '404 unknown_task'], predictionOf(gone.id, inputs)),
    )
    await this.#remove('remove, being asked', gone)
    await Promise.all(asked)
    await this.#ask('predict, just removed', ['404 unknown_task'], predictionOf(gone.id, inputs))
    await this.#put(this.#next(), ['201'])
  }

  /** Others upload and remove the same task: any order may come. */
  async #contend(): Promise<void> {
    const { bundled, file } = newUpload(contended, this.#count())
    const path = `/tasks/${contended}`
    await Promise.all([
      this.#ask('upload, beside others', ['200', '201'], { method: 'PUT', path, body: file }),
      this.#ask(
        'predict, being removed by others',
        ['200', '404 unknown_task'],
        predictionOf(contended, anyInput(bundled).text),
      ),
      this.#ask('remove, being removed by others', ['204', '404 unknown_task'], { method: 'DELETE', path }),
    ])
  }

  async #describe(): Promise<void> {
    const { id, version } = any(this.#uploads)
    const path = `/tasks/${id}`
    await this.#ask('describe', ['200'], { path })
    await this.#ask('describe, unchanged', ['304'], { path, headers: { 'if-none-match': `"${version}"` } })
  }

  #download(): Promise<unknown> {
    return this.#ask('download', ['200'], { path: `/tasks/${any(this.#uploads).id}/file` })
  }

  #sendNonsense(): Promise<unknown> {
    const task = anyBundled()
    const path = `/tasks/${task}/predict`
    const expect = (outcome: string, question: Parameters<SoakClient['ask']>[2]) =>
      this.#ask('nonsense', [outcome], question)
    return any([
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

  /** A request whose client leaves before it is answered, mostly. */
  async #leave(): Promise<void> {
    const task = anyBundled()
    const inputs = Array.from({ length: 32 }, () => anyInput(task))
    const leaving = new AbortController()
    const asked = this.#ask('predict, and leave', ['left', '200'], {
      ...predictionOf(task, inputs),
      signal: leaving.signal,
    })
    await pause(100 * Math.random())
    leaving.abort()
    await asked
  }

  /** An upload that is never sent to its end. */
  async #leaveUpload(): Promise<void> {
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
    this.client.counts.count('upload, and leave', 'left')
  }

  /** Little time: an answer in time, or a refusal. */
  #hurry(): Promise<unknown> {
    const task = anyBundled()
    return this.#ask('predict, in little time', ['200', '429 overloaded', '504 deadline_exceeded'], {
      ...predictionOf(
        task,
        Array.from({ length: 8 }, () => anyInput(task)),
      ),
      headers: { 'x-request-timeout-ms': String(any([1, 20, 100, 300])) },
    })
  }

  async #tenantComesAndGoes(): Promise<void> {
    const id = `guest-${this.index}-${this.#count()}`
    const path = `/tenants/${id}`
    const guest = new SoakClient(this.load.url, this.client.counts, await newTenant(this.operator, id))
    const upload = newUpload('its-own', this.#count())
    await guest.ask('upload', ['201'], { method: 'PUT', path: `/tasks/${upload.id}`, body: upload.file })
    await checkUpload(guest, 'predict, just uploaded', [upload], this.load.tolerance)
    await this.operator.ask('tenant, described', ['200'], { path })
    await this.operator.ask('tenant, removed', ['204'], { method: 'DELETE', path })
    await guest.ask('key of a removed tenant', ['401 unauthenticated'], { path: '/tasks' })
  }

  #strange(): Promise<unknown> {
    const key = any(['none', 'propetl_no-such-key'])
    const stranger = new SoakClient(this.load.url, this.client.counts, key === 'none' ? undefined : key)
    return stranger.ask('no key of this server', ['401 unauthenticated'], predictionOf(anyBundled(), 'a text'))
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
    await this.#ask(
      replaced ? 'replace' : asForm ? 'upload, as a form' : 'upload',
      expected,
      asForm ? { path: '/tasks', body: form } : { method: 'PUT', path: `/tasks/${id}`, body: file, headers },
    )
    this.#uploads.push(upload)
  }

  #remove(what: string, { id, version }: Upload): Promise<unknown> {
    return this.#ask(what, ['204'], { method: 'DELETE', path: `/tasks/${id}`, headers: { 'if-match': `"${version}"` } })
  }

  #next(id = `soak-${this.index}-${this.#made}`): Upload {
    return newUpload(id, this.#count())
  }

  /** Another for every client and call. */
  #count(): number {
    return this.index + this.load.clients * this.#made++
  }
}

const predictionOf = (task: string, inputs: unknown) => ({ path: `/tasks/${task}/predict`, body: { inputs } })
