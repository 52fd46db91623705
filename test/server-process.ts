// Runs `propetl serve` in a process of its own, as users do, and sends requests to it.

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after } from 'node:test'
import type { ClassificationResponse } from './http/running.js'
import { masksDir, referenceModelDir, root } from './material.js'

export const cli = join(root, 'dist/cli.js')

export interface ServerProcess {
  readonly url: string
  readonly process: ChildProcess
  /** Resolves with the exit code and the signal. */
  readonly exit: Promise<unknown[]>
}

const running = new Set<ChildProcess>()
after(() => {
  for (const child of running) child.kill('SIGKILL')
})

/** Starts a server with referenceFlags. Resolves once it is ready. */
export async function serve(dataDir: string, ...flags: string[]): Promise<ServerProcess> {
  return serveAny(...(await referenceFlags(dataDir)), ...flags)
}

/** The reference's prototype and tasks, and one engine, because each further one makes the start a third longer. */
export const referenceFlags = async (dataDir: string): Promise<string[]> => [
  ...['--data-dir', dataDir, '--model-dir', await referenceModelDir(), '--masks-dir', masksDir, '--engines', '1'],
]

export const serveAny = (...flags: string[]): Promise<ServerProcess> => ready(start([], flags))

export interface StartOptions extends SpawnOptions {
  /** The propetl program; by default the one of this checkout. */
  readonly script?: string
}

/** @param wrapper a shell or another program, which gets the server's command line as its last arguments */
export function start(
  wrapper: readonly string[],
  flags: readonly string[],
  { script = cli, ...options }: StartOptions = {},
): ChildProcess {
  const command = [...wrapper, process.execPath, script, 'serve', '--port', '0', '--provider', 'cpu', ...flags]
  const [program = '', ...args] = command
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], ...options })
  running.add(child)
  child.once('exit', () => running.delete(child))
  return child
}

export async function ready(child: ChildProcess): Promise<ServerProcess> {
  const exit = once(child, 'exit')
  for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
    const { msg, address } = JSON.parse(line) as { msg: string; address: string }
    if (msg === 'ready') {
      child.stdout?.resume()
      return { url: address, process: child, exit }
    }
  }
  throw new Error('the server exited before it was ready')
}

/** Waits for a start that has to fail. @returns the exit code and the output, including the messages of log lines */
export async function failedStart(child: ChildProcess): Promise<{ code: unknown; output: string }> {
  const written = outputOf(child)
  const [code] = await once(child, 'close')
  const lines = written().split('\n')
  return { code, output: lines.map((line) => (line.startsWith('{') ? JSON.parse(line).msg : line)).join('\n') }
}

/** Collects the output of a process from now on. */
export function outputOf(child: ChildProcess): () => string {
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (piece) => {
      text += piece
    })
  return () => text
}

export const put = (url: string, id: string, file: Uint8Array) =>
  fetch(`${url}/tasks/${id}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream' },
    body: Uint8Array.from(file),
  })

export const predict = (url: string, id: string) =>
  fetch(`${url}/tasks/${id}/predict`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ inputs: 'a gorgeous film', raw_scores: true }),
  })

export const predictionOf = async (response: Response) => (await response.json()) as ClassificationResponse
