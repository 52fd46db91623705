// A server whose engines hang, take long or fail at certain words, for real: see faulty-runs.cts.

import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { modelDir, temporaryDirectory } from '../material.js'
import { ready, referenceFlags, type ServerProcess, start } from '../server-process.js'

const words = { hang: 'zebra', slow: 'turtle', fail: 'grenade' } as const
export type Fault = keyof typeof words

export interface Answer {
  readonly status: number
  readonly body: { readonly code?: string; readonly detail?: string }
}

export interface FaultyServer extends ServerProcess {
  /** Lines of the log since it was ready, parsed. */
  readonly log: Record<string, unknown>[]
  /** Asks for a prediction of a text with the word of a fault, or without any. Texts of different numbers differ. */
  ask(fault: Fault | 'none', number?: number): Promise<Answer>
  get(path: string): Promise<{ readonly status: number; readonly text: string }>
  /** Lets engines that hang go on. */
  release(): void
}

/** @param slowMs what a text with the slow word takes */
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
    // As in the image.
    MALLOC_TRIM_THRESHOLD_: '1048576',
  }
  const all = [...(await referenceFlags(directory)), '--threads', '1', '--engines', '1', ...flags]
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
    async ask(fault, number = 0) {
      const text = `${fault === 'none' ? 'a gorgeous film' : words[fault]} ${number}`
      const response = await fetch(`${server.url}/tasks/sst2/predict`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ inputs: text }),
      })
      return { status: response.status, body: (await response.json()) as Answer['body'] }
    },
    async get(path) {
      const response = await fetch(`${server.url}${path}`)
      return { status: response.status, text: await response.text() }
    },
    release() {
      try {
        closeSync(openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK))
      } catch (error) {
        // Nobody waits.
        if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error
      }
    },
  }
}

/** Looks again until something is so. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 50))
}
