// A server as its users run it: `propetl serve` in a process of its own, and a load on it from another.

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { CrowdRequest } from './crowd.js'
import type { LoadRequest, LoadResult } from './load.js'
import type { OpenLoadRequest, OpenLoadResult } from './open-load.js'

const cli = fileURLToPath(new URL('../src/cli.js', import.meta.url))

export interface ServerProcess {
  readonly url: string
  readonly process: ChildProcess
  /** From spawn to the first 200 of /health/ready, in milliseconds. */
  readonly startMs: number
  stop(): Promise<void>
}

/** Starts a server on a free port and waits until it is ready. */
export async function startServerProcess(dataDir: string, flags: readonly string[] = []): Promise<ServerProcess> {
  const start = performance.now()
  const child = spawn(
    process.execPath,
    [cli, 'serve', '--port', '0', '--provider', 'cpu', '--data-dir', dataDir, '--log-level', 'info', ...flags],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const url = await listeningAddress(child)
  while (!(await fetch(`${url}/health/ready`)).ok) await new Promise((resolve) => setTimeout(resolve, 5))
  return {
    url,
    process: child,
    startMs: performance.now() - start,
    async stop() {
      const exit = once(child, 'exit')
      child.kill('SIGTERM')
      const [code] = await exit
      if (code !== 0) throw new Error(`the server ended with code ${code}`)
    },
  }
}

async function listeningAddress(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('the server has no stdout')
  const lines = createInterface({ input: child.stdout })
  const address = await new Promise<string>((resolve, reject) => {
    lines.on('line', (line) => {
      const found = /listening on (http:\/\/[^;]+);/.exec(line)?.[1]
      if (found) resolve(found)
    })
    child.once('exit', (code) => reject(new Error(`the server ended with code ${code} before it listened`)))
  })
  return address
}

/** Resident memory of a process in bytes: all of it, and the part that no file backs. */
export function residentBytes(pid: number | undefined): { readonly all: number; readonly anonymous: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024
  return { all: field('VmRSS'), anonymous: field('RssAnon') }
}

/** Clients in a process of their own, so that the server's event loop carries none of them. */
class Clients<Request extends object, Result> {
  readonly #child: ChildProcess

  constructor(script: string) {
    this.#child = fork(fileURLToPath(new URL(script, import.meta.url)))
  }

  /** A load whose result nobody waits for; it goes on until it is stopped. */
  start(request: Request): void {
    this.#child.send(request)
  }

  async run(request: Request): Promise<Result> {
    const answer = once(this.#child, 'message')
    this.start(request)
    const [result] = (await answer) as [Result]
    return result
  }

  stop(): void {
    this.#child.kill()
  }
}

export class LoadProcess extends Clients<LoadRequest, LoadResult> {
  constructor() {
    super('./load.js')
  }

  /** @throws Error if a request failed */
  override async run(request: LoadRequest): Promise<LoadResult> {
    const result = await super.run(request)
    if (result.failed > 0)
      throw new Error(`${result.failed} of ${result.requests} requests failed: ${result.firstFailure}`)
    return result
  }
}

/** Requests at a given rate. */
export class OpenLoadProcess extends Clients<OpenLoadRequest, OpenLoadResult> {
  constructor() {
    super('./open-load.js')
  }
}

/** Bad clients, until they are stopped. */
export class CrowdProcess extends Clients<CrowdRequest, never> {
  constructor() {
    super('./crowd.js')
  }
}

/** A figure of a server's metrics that has no labels. */
export async function metricOf(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  const value = new RegExp(`^${name} (.+)$`, 'm').exec(text)?.[1]
  if (value === undefined) throw new Error(`there is no metric ${name}`)
  return Number(value)
}
