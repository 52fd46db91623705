// Stores of replicas on one database, without servers.

import assert from 'node:assert/strict'
import { after } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Mirror } from '../../src/store/mirror.js'
import { PostgresStore } from '../../src/store/postgres.js'
import type { Store } from '../../src/store/store.js'
import { TaskStore } from '../../src/tasks/store.js'
import { temporaryDirectory } from '../material.js'

export const anyVersion = () => {}
export const file = (text: string) => Buffer.from(text)

export interface Replica {
  readonly store: PostgresStore
  readonly tasks: TaskStore
  readonly directory: string
  readonly log: string[]
}

const opened: Store[] = []
after(() => Promise.all(opened.map((store) => store.close())))

export interface ReplicaOptions {
  readonly directory?: string
  readonly acceptHistory?: string | undefined
  readonly signal?: AbortSignal
}

export async function replica(url: string, { directory, ...options }: ReplicaOptions = {}): Promise<Replica> {
  const log: string[] = []
  const say = (details: object, message = '') => void log.push(`${message} ${JSON.stringify(details)}`)
  const logger = { info: say, warn: say } as never
  const data = directory ?? (await temporaryDirectory())
  const mirror = await Mirror.open(data, logger, options.signal)
  const store = await PostgresStore.open({ url, mirror, logger, ...options })
  opened.push(store)
  return { store, tasks: await TaskStore.open(store), directory: data, log }
}

export async function closed({ store, directory }: Replica): Promise<string> {
  opened.splice(opened.indexOf(store), 1)
  await store.close()
  return directory
}

/** Waits until a condition holds. @param what the condition, for the error message */
export async function until(holds: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 2_000; tries++) {
    if (holds()) return
    await delay(10)
  }
  assert.fail(`timed out waiting until ${what}`)
}
