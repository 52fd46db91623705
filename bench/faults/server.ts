// A server under test: `propetl serve` in its own process, which is observed only from outside.

import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { digestOf } from '../../src/formats/digest.js'
import { inPackage } from '../../src/package.js'
import type { Command } from '../support/process.js'
import { timeUntil } from './waiting.js'

export const cli = fileURLToPath(inPackage('dist/cli.js'))

/** The operator's key of all servers. */
export const operatorKey = 'operator-key-of-the-fault-benchmark'

export interface ServerOptions {
  readonly dataDir: string
  readonly flags?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** A command that runs the server's command line, which follows it. */
  readonly wrapper?: readonly string[]
}

export interface RequestOptions {
  readonly body?: Uint8Array<ArrayBuffer> | object
  readonly key?: string
  readonly timeoutMs?: number
}

export interface ServerResponse {
  /** The HTTP status; 0 if the connection was lost or the response did not arrive in time. */
  readonly status: number
  /** The code of a problem, otherwise empty. */
  readonly code: string
  /** The detail of a problem, or why there is no response. */
  readonly detail: string
  readonly body: Buffer
  readonly ms: number
}

/** A short description for messages. */
export const describeResponse = ({ status, code, detail }: ServerResponse): string =>
  status === 0 ? `no response (${detail})` : [status, code, detail].filter((part) => part !== '').join(' ')

const readyMs = 60_000
const responseMs = 30_000

export class ServerUnderTest {
  readonly #child: ChildProcess
  #output = ''
  #ended = false
  readonly exit: Promise<void>

  constructor({ dataDir, flags = [], env = {}, wrapper = [] }: ServerOptions) {
    const serve = ['serve', '--port', '0', '--provider', 'cpu', '--threads', '1', '--engines', '1']
    const [program = '', ...args] = [...wrapper, process.execPath, cli, ...serve, '--data-dir', dataDir, ...flags]
    this.#child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PROPETL_OPERATOR_KEY: operatorKey, ...env },
    })
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.on('data', (piece) => {
        this.#output += piece
      })
    const stop = () => this.#child.kill('SIGKILL')
    process.once('exit', stop)
    this.exit = new Promise((resolve) => {
      // A program that cannot be started has no exit event.
      this.#child.once('error', () => resolve())
      this.#child.once('exit', () => resolve())
    })
    void this.exit.then(() => {
      this.#ended = true
      process.off('exit', stop)
    })
  }

  /** Everything that it wrote to stdout and stderr. */
  get output(): string {
    return this.#output
  }

  get isEnded(): boolean {
    return this.#ended
  }

  /** The signal or exit code, or that the server runs. */
  get end(): string {
    if (!this.#ended) return 'runs'
    return this.#child.signalCode ?? `exit code ${this.#child.exitCode}`
  }

  /** The last line of output that is not blank. */
  get lastLine(): string {
    return this.#lines.at(-1)?.slice(0, 400) ?? ''
  }

  /** The lines that report errors, or the last line if there are none. */
  get complaint(): string {
    const errors = this.#lines.filter((line) => !/^{"level":[1-4]\d,/.test(line))
    return errors.length > 0 ? errors.join(' ').slice(0, 600) : this.lastLine
  }

  get #lines(): string[] {
    return this.#output.split('\n').filter((line) => line.trim() !== '')
  }

  /** The process id of the server, or of its wrapper if that keeps running. */
  get pid(): number {
    const { pid } = this.#child
    if (pid === undefined) throw new Error('the server could not be started')
    return pid
  }

  /** The process id of the server if its wrapper stays its parent. */
  get wrappedPid(): number | undefined {
    const [child] = readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, 'utf8').split(' ')
    return child ? Number(child) : undefined
  }

  /** The address that the server listens on. */
  get url(): string {
    const found = /(https?:\/\/127\.0\.0\.1:\d+)/.exec(this.#output)?.[1]
    if (found === undefined) throw new Error(`the server does not listen: ${this.lastLine}`)
    return found
  }

  get isReady(): boolean {
    return /"msg":"ready"/.test(this.#output)
  }

  /** @throws Error if the server exits before it is ready, or is not ready in time */
  async ready(): Promise<this> {
    await timeUntil(() => this.isReady || this.#ended, readyMs, 10)
    if (this.isReady && !this.#ended) return this
    throw new Error(`the server does not become ready (${this.end}): ${this.complaint}`)
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  /** @returns milliseconds until the server exits; `limitMs` if it still runs then */
  async timeToEnd(limitMs: number): Promise<number> {
    return (await timeUntil(() => this.#ended, limitMs, 5)) ?? limitMs
  }

  /** Kills the server and waits for its exit. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.exit
  }

  /** @throws Error if the server does not exit with code 0 */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    await this.timeToEnd(readyMs)
    if (this.end !== 'exit code 0') throw new Error(`the server exited with ${this.end}: ${this.complaint}`)
  }

  async request(
    method: string,
    path: string,
    { body, key = operatorKey, timeoutMs = responseMs }: RequestOptions = {},
  ): Promise<ServerResponse> {
    const isFile = body instanceof Uint8Array
    const start = performance.now()
    try {
      const response = await fetch(this.url + path, {
        method,
        headers: {
          authorization: `Bearer ${key}`,
          ...(body !== undefined && { 'content-type': isFile ? 'application/octet-stream' : 'application/json' }),
        },
        ...(body !== undefined && { body: isFile ? body : JSON.stringify(body) }),
        signal: AbortSignal.timeout(timeoutMs),
      })
      const received = Buffer.from(await response.arrayBuffer())
      const isProblem = response.headers.get('content-type')?.startsWith('application/problem+json')
      const { code = '', detail = '' } = isProblem
        ? (JSON.parse(received.toString()) as { code?: string; detail?: string })
        : {}
      return { status: response.status, code, detail, body: received, ms: performance.now() - start }
    } catch (error) {
      const { message, cause } = error as Error
      const detail = cause instanceof Error ? cause.message : message
      return { status: 0, code: '', detail, body: Buffer.alloc(0), ms: performance.now() - start }
    }
  }

  put(id: string, file: Uint8Array<ArrayBuffer>, options: Omit<RequestOptions, 'body'> = {}): Promise<ServerResponse> {
    return this.request('PUT', `/tasks/${id}`, { ...options, body: file })
  }

  predict(inputs: readonly string[], timeoutMs = 60_000): Promise<ServerResponse> {
    return this.request('POST', '/tasks/sst2/predict', { body: { inputs }, timeoutMs })
  }

  /** @returns the digest of the task's file; undefined if the task does not exist */
  async digest(id: string): Promise<string | undefined> {
    const response = await this.request('GET', `/tasks/${id}/file`)
    if (response.status === 404) return undefined
    if (response.status !== 200) throw new Error(`task ${id} cannot be read: ${describeResponse(response)}`)
    return digestOf(response.body)
  }

  /** The ids of uploaded tasks. */
  async uploaded(): Promise<string[]> {
    const response = await this.request('GET', '/tasks?limit=1000')
    if (response.status !== 200) throw new Error(`the tasks cannot be listed: ${describeResponse(response)}`)
    const { tasks } = JSON.parse(response.body.toString()) as { tasks: { id: string; origin: string }[] }
    return tasks.filter(({ origin }) => origin === 'uploaded').map(({ id }) => id)
  }

  async metric(name: string): Promise<number> {
    const { body } = await this.request('GET', '/metrics')
    return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (.+)$`, 'm').exec(body.toString())?.[1])
  }
}

/** Runs a command of propetl. */
export function command(args: readonly string[], options: Pick<ServerOptions, 'env' | 'wrapper'> = {}) {
  const [program = '', ...rest]: Command | string[] = [...(options.wrapper ?? []), process.execPath, cli, ...args]
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...options.env } })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (piece) => {
      output += piece
    })
  return new Promise<{ readonly end: string; readonly output: string }>((resolve) =>
    child.once('close', (code, signal) => resolve({ end: signal ?? `exit code ${code}`, output })),
  )
}
