// Starts `propetl serve` in its own process, and reads the memory, descriptors and metrics of such a process.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { inPackage } from '../../src/package.js'

const cli = fileURLToPath(inPackage('dist/cli.js'))

export interface ServerProcess {
  readonly url: string
  readonly process: ChildProcess
  /** From spawn to the first 200 of /health/ready, in milliseconds. */
  readonly startMs: number
  stop(): Promise<void>
}

/** How to start the server's process. The default is this Node.js with this build. */
export interface Launch {
  /** A command that runs the script given as its last argument. */
  readonly command?: Command
  /** The command-line script of another build. */
  readonly cli?: string
  /** Hides what the server writes to stderr. */
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
  // At an early exit the server must be gone before its data directory is removed.
  const kill = () => child.kill('SIGKILL')
  process.prependOnceListener('exit', kill)
  child.once('exit', () => process.off('exit', kill))
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
      if (code !== 0) throw new Error(`the server exited with code ${code}`)
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
    child.once('exit', (code) => reject(new Error(`the server exited with code ${code} before it listened`)))
  })
  // Later lines are read and ignored, so that the pipe does not fill.
  lines.close()
  child.stdout.resume()
  return address
}

/** Resident memory of a process, in bytes: all, anonymous and file-backed pages; and its number of threads. */
export interface ProcessMemory {
  readonly all: number
  /** Largest value of `all` so far. */
  readonly peak: number
  readonly anonymous: number
  readonly file: number
  readonly threads: number
}

export const processMemory = (pid: number | undefined): ProcessMemory =>
  parseMemory(readFileSync(`/proc/${pid}/status`, 'utf8'))

function parseMemory(status: string): ProcessMemory {
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

/**
 * Runs a command of `propetl` to its end.
 * @param statusFile a file that the process writes when it ends
 * @throws if the command fails
 */
export async function runPropetl(
  args: readonly string[],
  statusFile: string,
): Promise<{ readonly seconds: number; readonly peakBytes: number }> {
  const hook =
    `import { readFileSync, writeFileSync } from 'node:fs'; process.on('exit', () => ` +
    `writeFileSync(${JSON.stringify(statusFile)}, readFileSync('/proc/self/status')))`
  const start = performance.now()
  const node = ['--import', `data:text/javascript,${encodeURIComponent(hook)}`]
  const child = spawn(process.execPath, [...node, cli, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
  const [messages, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')])
  if (code !== 0) throw new Error(`propetl ${args.join(' ')} failed: ${messages}`)
  const { peak } = parseMemory(readFileSync(statusFile, 'utf8'))
  return { seconds: (performance.now() - start) / 1000, peakBytes: peak }
}

/** How long a thread has run on a core, and how long it could have run but waited for one, in milliseconds. */
export interface ThreadTime {
  readonly runningMs: number
  readonly waitingMs: number
}

/** The time of a process's main thread; undefined if the process has exited, or its kernel does not count it. */
export function mainThreadTime(pid: number | undefined): ThreadTime | undefined {
  try {
    const [running = 0, waiting = 0] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ').map(Number)
    return { runningMs: running / 1e6, waitingMs: waiting / 1e6 }
  } catch {
    return undefined
  }
}

/** Number of open descriptors of a process by kind: socket, pipe, anon_inode:[eventpoll], or the path of a file. */
export function openDescriptors(pid: number | undefined): ReadonlyMap<string, number> {
  const folder = `/proc/${pid}/fd`
  const counts = new Map<string, number>()
  for (const name of readdirSync(folder)) {
    let target: string
    try {
      target = readlinkSync(`${folder}/${name}`)
    } catch {
      // The descriptor was closed after the listing.
      continue
    }
    const kind = target.replace(/^(socket|pipe):.*/, '$1')
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
  }
  return counts
}

/** Reads the metrics of a server. The result returns the value of a metric that has no labels. */
export async function metricsOf(
  url: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<(name: string) => number> {
  const response = await fetch(`${url}/metrics`, { headers })
  const text = await response.text()
  if (!response.ok) throw new Error(`GET /metrics returned ${response.status}: ${text}`)
  return (name) => {
    const value = new RegExp(`^${name} (.+)$`, 'm').exec(text)?.[1]
    if (value === undefined) throw new Error(`the server has no metric ${name} without labels`)
    return Number(value)
  }
}

/** Reads one metric that has no labels. */
export const metricOf = async (url: string, name: string): Promise<number> => (await metricsOf(url))(name)
