// A server whose engines really hang, are slow or fail on certain words; see faulty-runs.cts.

import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { modelDir, temporaryDirectory } from '../material.js'
import { ready, referenceFlags, type ServerProcess, start } from '../server-process.js'

const words = { hang: 'zebra', slow: 'turtle', fail: 'grenade' } as const
export type Fault = keyof typeof words

export interface Response {
  readonly status: number
  readonly body: { readonly code?: string; readonly detail?: string }
}

export interface FaultyServer extends ServerProcess {
  /** Parsed log lines since the server was ready. */
  readonly log: Record<string, unknown>[]
  /** Requests a prediction for a text with the word of a fault, or without one. Different numbers give different texts. */
  predict(fault: Fault | 'none', number?: number): Promise<Response>
  get(path: string): Promise<{ readonly status: number; readonly text: string }>
  /** Lets hung engines continue. */
  release(): void
}

/** @param slowMs how long a text with the slow word takes, in milliseconds */
export async function serveFaulty(flags: readonly string[], slowMs = 0): Promise<FaultyServer> {
  const directory = await temporaryDirectory()
  const pipe = join(directory, 'pipe')
  execFileSync('mkfifo', [pipe])
  const { model } = JSON.parse(readFileSync(join(modelDir, 'tokenizer.json'), 'utf8')) as {
    model: { vocab: Record<string, number> }
  }
  const ids = Object.fromEntries(Object.entries(words).map(([fault, word]) => [fault, model.vocab[word]]))
  const env = {
    ...process.env,
    NODE_OPTIONS: `--require=${fileURLToPath(new URL('./faulty-runs.cjs', import.meta.url))}`,
    ENGINE_FAULTS: JSON.stringify({ ...ids, pipe, slowMs }),
    // The value of the container image.
    MALLOC_TRIM_THRESHOLD_: '1048576',
  }
  const all = [...(await referenceFlags(directory)), '--threads', '1', ...flags]
  const server = await ready(start([], all, { env }))
  const log: Record<string, unknown>[] = []
  let rest = ''
  server.process.stdout?.on('data', (piece) => {
    const lines = `${rest}${piece}`.split('\n')
    rest = lines.pop() ?? ''
    log.push(...lines.map((line) => JSON.parse(line) as Record<string, unknown>))
  })
  return {
    ...server,
    log,
    async predict(fault, number = 0) {
      const text = `${fault === 'none' ? 'a gorgeous film' : words[fault]} ${number}`
      const response = await fetch(`${server.url}/tasks/sst2/predict`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ inputs: text }),
      })
      return { status: response.status, body: (await response.json()) as Response['body'] }
    },
    async get(path) {
      const response = await fetch(`${server.url}${path}`)
      return { status: response.status, text: await response.text() }
    },
    release() {
      try {
        closeSync(openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK))
      } catch (error) {
        // No engine hangs.
        if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error
      }
    },
  }
}

/** Polls until a condition holds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 50))
}
