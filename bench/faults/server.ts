// A server to which faults happen: `propetl serve` in a process of its own, of which everything is seen from outside.

import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { digestOf } from '../../src/formats/digest.js'
import { inPackage } from '../../src/package.js'
import type { Command } from '../support/process.js'
import { timeUntil } from './waiting.js'

export const cli = fileURLToPath(inPackage('dist/cli.js'))

/** Of an operator, for all servers. */
export const operatorKey = 'operator-key-of-the-fault-benchmark'

export interface ServerOptions {
  readonly dataDir: string
  readonly flags?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Runs the server's command line, which follows it. */
  readonly wrapper?: readonly string[]
}

export interface Asked {
  readonly body?: Uint8Array<ArrayBuffer> | object
  readonly key?: string
  readonly timeoutMs?: number
}

export interface Answer {
  /** Of HTTP; 0 if the connection was lost or the answer did not come in time. */
  readonly status: number
  /** Of a problem, else empty. */
  readonly code: string
  /** The problem's text, or why there is no answer. */
  readonly detail: string
  readonly body: Buffer
  readonly ms: number
}

/** For people. */
export const told = ({ status, code, detail }: Answer): string =>
  status === 0 ? `no answer (${detail})` : [status, code, detail].filter((part) => part !== '').join(' ')

const readyMs = 60_000
const answerMs = 30_000

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
      // A program that cannot be started has no exit.
      this.#child.once('error', () => resolve())
      this.#child.once('exit', () => resolve())
    })
    void this.exit.then(() => {
      this.#ended = true
      process.off('exit', stop)
    })
  }

  /** All that it wrote to both streams. */
  get output(): string {
    return this.#output
  }

  get isEnded(): boolean {
    return this.#ended
  }

  /** The signal that ended it, or its exit code, or that it runs. */
  get end(): string {
    if (!this.#ended) return 'runs'
    return this.#child.signalCode ?? `exit code ${this.#child.exitCode}`
  }

  /** The last line that says something, as it is shown to people. */
  get lastLine(): string {
    return this.#lines.at(-1)?.slice(0, 400) ?? ''
  }

  /** The lines that report errors, or else the last one. */
  get complaint(): string {
    const errors = this.#lines.filter((line) => !/^{"level":[1-4]\d,/.test(line))
    return errors.length > 0 ? errors.join(' ').slice(0, 600) : this.lastLine
  }

  get #lines(): string[] {
    return this.#output.split('\n').filter((line) => line.trim() !== '')
  }

  /** Of the process that a wrapper starts, where there is one and it goes on. */
  get pid(): number {
    const { pid } = this.#child
    if (pid === undefined) throw new Error('the server was not started')
    return pid
  }

  /** The process that runs the server where the wrapper stays its parent. */
  get wrappedPid(): number | undefined {
    const [child] = readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, 'utf8').split(' ')
    return child ? Number(child) : undefined
  }

  /** Where it listens. */
  get url(): string {
    const found = /(https?:\/\/127\.0\.0\.1:\d+)/.exec(this.#output)?.[1]
    if (found === undefined) throw new Error(`the server does not listen: ${this.lastLine}`)
    return found
  }

  get isReady(): boolean {
    return /"msg":"ready"/.test(this.#output)
  }

  /** @throws Error if it ends before it is ready, or takes too long */
  async ready(): Promise<this> {
    await timeUntil(() => this.isReady || this.#ended, readyMs, 10)
    if (this.isReady && !this.#ended) return this
    throw new Error(`the server does not become ready (${this.end}): ${this.complaint}`)
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  /** Milliseconds until it is gone; `limitMs` if it still runs then. */
  async timeToEnd(limitMs: number): Promise<number> {
    return (await timeUntil(() => this.#ended, limitMs, 5)) ?? limitMs
  }

  /** Ends it at once, however it is. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.exit
  }

  /** @throws Error if it does not end in order */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    await this.timeToEnd(readyMs)
    if (this.end !== 'exit code 0') throw new Error(`the server ended with ${this.end}: ${this.complaint}`)
  }

  async ask(
    method: string,
    path: string,
    { body, key = operatorKey, timeoutMs = answerMs }: Asked = {},
  ): Promise<Answer> {
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

  put(id: string, file: Uint8Array<ArrayBuffer>, asked: Omit<Asked, 'body'> = {}): Promise<Answer> {
    return this.ask('PUT', `/tasks/${id}`, { ...asked, body: file })
  }

  predict(inputs: readonly string[], timeoutMs = 60_000): Promise<Answer> {
    return this.ask('POST', '/tasks/sst2/predict', { body: { inputs }, timeoutMs })
  }

  /** @returns the digest of what it serves; undefined if there is no such task */
  async digest(id: string): Promise<string | undefined> {
    const answer = await this.ask('GET', `/tasks/${id}/file`)
    if (answer.status === 404) return undefined
    if (answer.status !== 200) throw new Error(`task ${id} cannot be read: ${told(answer)}`)
    return digestOf(answer.body)
  }

  /** The ids of uploaded tasks. */
  async uploaded(): Promise<string[]> {
    const answer = await this.ask('GET', '/tasks?limit=1000')
    if (answer.status !== 200) throw new Error(`the tasks cannot be listed: ${told(answer)}`)
    const { tasks } = JSON.parse(answer.body.toString()) as { tasks: { id: string; origin: string }[] }
    return tasks.filter(({ origin }) => origin === 'uploaded').map(({ id }) => id)
  }

  async metric(name: string): Promise<number> {
    const { body } = await this.ask('GET', '/metrics')
    return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (.+)$`, 'm').exec(body.toString())?.[1])
  }
}

/** A command of propetl beside a server. */
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
