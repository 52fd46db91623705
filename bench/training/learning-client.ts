// What the benchmarks of learning send to a server: examples, and jobs that learn from them.

import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { inPackage } from '../../src/package.js'

/** 200 texts with four labels. */
export const tickets = readFileSync(fileURLToPath(inPackage('examples/tickets.csv')))

export interface JobState {
  readonly id: string
  readonly state: string
  readonly phase?: string
  readonly attempt: number
  readonly version?: number
  readonly score?: number
  readonly error?: { readonly code: string; readonly message: string }
}

export class LearningClient {
  constructor(readonly url: string) {}

  /** Sends a CSV file of examples. @returns how many the task has then */
  async post(task: string, csv: Uint8Array): Promise<number> {
    const body = Uint8Array.from(csv)
    const { total } = await this.#json<{ total: number }>('POST', `/tasks/${task}/examples`, 'text/csv', body)
    return total
  }

  async examples(task: string): Promise<number> {
    return (await this.#json<{ total: number }>('GET', `/tasks/${task}/examples?limit=1`)).total
  }

  /** Makes a job. */
  learn(task: string, options: object = {}): Promise<JobState> {
    return this.#json('POST', `/tasks/${task}/learn`, 'application/json', JSON.stringify(options))
  }

  job(id: string): Promise<JobState> {
    return this.#json('GET', `/jobs/${id}`)
  }

  /** The stages of the versions that jobs of a task have made: `head` and `final`. */
  async stages(task: string): Promise<{ readonly job?: string; readonly stage?: string }[]> {
    interface Listed {
      readonly versions: { readonly source: { readonly job?: string; readonly stage?: string } }[]
    }
    return (await this.#json<Listed>('GET', `/tasks/${task}/versions`)).versions.map(({ source }) => source)
  }

  /** Waits until a job is in a state. @throws Error if it ends in another one */
  async until(id: string, isReached: (job: JobState) => boolean): Promise<JobState> {
    for (;;) {
      const job = await this.job(id)
      if (isReached(job)) return job
      if (job.state !== 'queued' && job.state !== 'running')
        throw new Error(`job ${id} is ${job.state}: ${job.error?.message ?? 'earlier than expected'}`)
      await delay(50)
    }
  }

  async cancel(id: string): Promise<void> {
    await fetch(`${this.url}/jobs/${id}`, { method: 'DELETE' })
  }

  /** Waits until a task predicts. */
  async untilLive(task: string): Promise<void> {
    const body = JSON.stringify({ inputs: 'How do I change my address?' })
    const headers = { 'content-type': 'application/json' }
    while (!(await fetch(`${this.url}/tasks/${task}/predict`, { method: 'POST', headers, body })).ok) await delay(50)
  }

  async #json<T>(method: string, path: string, type?: string, body?: string | Uint8Array<ArrayBuffer>): Promise<T> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      ...(type !== undefined && { headers: { 'content-type': type } }),
      ...(body !== undefined && { body }),
    })
    if (!response.ok) throw new Error(`${method} ${path} returned ${response.status}: ${await response.text()}`)
    return (await response.json()) as T
  }
}
