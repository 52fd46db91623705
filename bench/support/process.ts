// A server as its users run it: `propetl serve` in a process of its own, and a load on it from another.

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { inPackage } from '../../src/package.js'
import type { AttackerMessage, AttackerReport } from '../attacks/attacker.js'
import type { CrowdRequest } from '../attacks/bad-clients-process.js'
import type { SteadyRequest, SteadyResult } from '../attacks/steady-client.js'
import type { Held, ResidueMessage } from '../long-running/memory-leak-server.js'
import type { Tally } from '../long-running/soak-client.js'
import type { SoakLoad } from '../long-running/soak-load.js'
import type { LoadRequest, LoadResult } from './closed-loop.js'
import type { OpenLoadRequest, OpenLoadResult } from './open-loop.js'

const cli = fileURLToPath(inPackage('dist/cli.js'))

export interface ServerProcess {
  readonly url: string
  readonly process: ChildProcess
  /** From spawn to the first 200 of /health/ready, in milliseconds. */
  readonly startMs: number
  stop(): Promise<void>
}

/** How the server's process is started, where that is not the same Node with this build. */
export interface Launch {
  /** Runs the script that follows it. */
  readonly command?: Command
  /** The server's script: that of another build. */
  readonly cli?: string
  /** Whether its errors are shown. */
  readonly quiet?: boolean
}

/** A program and its first arguments. */
export type Command = readonly [program: string, ...args: string[]]

/** Starts a server on a free port and waits until it is ready. */
export async function startServerProcess(
  dataDir: string,
  flags: readonly string[] = [],
  environment: Readonly<Record<string, string>> = {},
  { command: [program, ...args] = [process.execPath], cli: script = cli, quiet = false }: Launch = {},
): Promise<ServerProcess> {
  const start = performance.now()
  const serve = ['serve', '--port', '0', '--provider', 'cpu', '--data-dir', dataDir, '--log-level', 'info']
  const child = spawn(program, [...args, script, ...serve, ...flags], {
    stdio: ['ignore', 'pipe', quiet ? 'ignore' : 'inherit'],
    env: { ...process.env, ...environment },
  })
  const end = () => child.kill()
  process.once('exit', end)
  child.once('exit', () => process.off('exit', end))
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
  // The lines that follow are read so that the pipe does not fill, but not looked at.
  lines.close()
  child.stdout.resume()
  return address
}

/** What a process holds: its resident memory in bytes, with and without a file behind it, and its threads. */
export function residentBytes(pid: number | undefined): {
  readonly all: number
  /** The most that `all` has been. */
  readonly peak: number
  readonly anonymous: number
  readonly file: number
  readonly threads: number
} {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1])
  const bytes = (name: string) => field(name) * 1024
  return {
    all: bytes('VmRSS'),
    peak: bytes('VmHWM'),
    anonymous: bytes('RssAnon'),
    file: bytes('RssFile'),
    threads: field('Threads'),
  }
}

/** Open descriptors of a process by what they are: socket, pipe, anon_inode:[eventpoll], or the path of a file. */
export function descriptors(pid: number | undefined): ReadonlyMap<string, number> {
  const folder = `/proc/${pid}/fd`
  const counts = new Map<string, number>()
  for (const name of readdirSync(folder)) {
    let target: string
    try {
      target = readlinkSync(`${folder}/${name}`)
    } catch {
      // Closed since it was listed.
      continue
    }
    const kind = target.replace(/^(socket|pipe):.*/, '$1')
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
  }
  return counts
}

/** A script in a process of its own that answers messages, such as clients that the server's event loop must not carry. */
class Clients<Request extends object, Result> {
  readonly #child: ChildProcess
  /** Rejects if the process ends before it is stopped. */
  readonly lost: Promise<never>

  constructor(script: string, execArgv: readonly string[] = []) {
    this.#child = fork(fileURLToPath(new URL(script, import.meta.url)), { execArgv: [...execArgv] })
    this.lost = once(this.#child, 'exit').then(([code]) => {
      throw new Error(`${script} ended with code ${code}`)
    })
    // Whoever waits for an answer is told; nobody has to.
    this.lost.catch(() => {})
  }

  /** A load whose result nobody waits for; it goes on until it is stopped. */
  start(request: Request): void {
    this.#child.send(request)
  }

  async run(request: Request): Promise<Result> {
    const answer = once(this.#child, 'message')
    this.start(request)
    const [result] = (await Promise.race([answer, this.lost])) as [Result]
    return result
  }

  stop(): void {
    this.#child.kill()
  }
}

export class LoadProcess extends Clients<LoadRequest, LoadResult> {
  constructor() {
    super('./closed-loop.js')
  }

  /** @throws Error if a request failed */
  override async run(request: LoadRequest): Promise<LoadResult> {
    const result = await super.run(request)
    if (result.failed > 0)
      throw new Error(`${result.failed} of ${request.amount} requests failed: ${result.firstFailure}`)
    return result
  }
}

/** Requests at a given rate. */
export class OpenLoadProcess extends Clients<OpenLoadRequest, OpenLoadResult> {
  constructor() {
    super('./open-loop.js')
  }
}

/** Bad clients, until they are stopped. */
export class CrowdProcess extends Clients<CrowdRequest, never> {
  constructor() {
    super('../attacks/bad-clients-process.js')
  }
}

/** A mixed load without an end, until it is told to finish what it does. */
export class SoakLoadProcess extends Clients<SoakLoad | { stop: true }, Tally> {
  constructor() {
    super('../long-running/soak-load.js')
  }
}

/** A server that collects its garbage when it is asked what it holds. */
export class ResidueProcess extends Clients<ResidueMessage, string | Held> {
  constructor() {
    super('../long-running/memory-leak-server.js', ['--expose-gc'])
  }
}

/** One attack on a server. */
export class AttackerProcess extends Clients<AttackerMessage, AttackerReport> {
  constructor() {
    super('../attacks/attacker.js')
  }
}

/** The well-behaved client beside an attack. */
export class SteadyProcess extends Clients<SteadyRequest, SteadyResult> {
  constructor() {
    super('../attacks/steady-client.js')
  }
}

/** The figures of a server's metrics that have no labels. */
export async function metricsOf(
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<(name: string) => number> {
  const answer = await fetch(`${url}/metrics`, { headers })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`/metrics: ${answer.status} ${text}`)
  return (name) => {
    const value = new RegExp(`^${name} (.+)$`, 'm').exec(text)?.[1]
    if (value === undefined) throw new Error(`there is no metric ${name}`)
    return Number(value)
  }
}

/** A figure of a server's metrics that has no labels. */
export const metricOf = async (url: string, name: string): Promise<number> => (await metricsOf(url))(name)
