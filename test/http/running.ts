// The whole server in this process. Tests inject requests without a socket.

import assert from 'node:assert/strict'
import { after } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { type Config, readConfig } from '../../src/config.js'
import { type Server, type StartOptions, startServer } from '../../src/server.js'
import { masksDir, referenceModelDir, taskBytes, temporaryDirectory } from '../material.js'

export interface Running {
  readonly server: Server
  readonly app: FastifyInstance
  /** Parsed lines of the log. */
  readonly log: Record<string, unknown>[]
}

const open: Server[] = []
after(() => Promise.all(open.map((server) => server.close())))

/** Starts a server with the reference tasks. It is closed after the tests of the file. */
export async function startRunning(
  flags: Partial<Record<keyof Config, string>> = {},
  options: StartOptions = {},
): Promise<Running> {
  const log: Record<string, unknown>[] = []
  const logger = pino({ level: 'info' }, { write: (line: string) => void log.push(JSON.parse(line)) })
  const [modelDir, dataDir] = await Promise.all([referenceModelDir(), temporaryDirectory()])
  const config = readConfig({ port: '0', provider: 'cpu', engines: '1', modelDir, masksDir, dataDir, ...flags }, {})
  const server = await startServer(config, logger, options)
  open.push(server)
  return { server, app: server.app, log }
}

/** Closes a server before the tests of the file have ended. */
export async function stopRunning({ server }: Running): Promise<void> {
  open.splice(open.indexOf(server), 1)
  await server.close()
}

export const upload = (app: FastifyInstance, id: string, file: Uint8Array = taskBytes('sst2'), headers: object = {}) =>
  app.inject({
    method: 'PUT',
    url: `/tasks/${id}`,
    headers: { 'content-type': 'application/octet-stream', ...headers },
    body: Buffer.from(file),
  })

export const predict = (app: FastifyInstance, task: string, body: object | string) =>
  app.inject({
    method: 'POST',
    url: `/tasks/${task}/predict`,
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })

/** A client with an API key. It sends bytes as a task file, and anything else as JSON. */
export const keyClient =
  (app: FastifyInstance, key: string) =>
  (method: 'GET' | 'PUT' | 'POST' | 'DELETE', url: string, body?: object, headers: Record<string, string> = {}) =>
    app.inject({
      method,
      url,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body && { 'content-type': `application/${Buffer.isBuffer(body) ? 'octet-stream' : 'json'}` }),
        ...headers,
      },
      ...(body && { body }),
    })
export type KeyClient = ReturnType<typeof keyClient>

export const operatorKey = 'an-operators-key-of-at-least-32-characters'

/** Creates a tenant with an API key. */
export async function newTenant(app: FastifyInstance, id: string, settings: object = {}): Promise<KeyClient> {
  const operator = keyClient(app, operatorKey)
  assert.equal((await operator('PUT', `/tenants/${id}`, settings)).statusCode, 201)
  const made = await operator('POST', `/tenants/${id}/keys`, {})
  assert.equal(made.statusCode, 201)
  return keyClient(app, made.json<{ key: string }>().key)
}

export interface ClassificationResponse {
  readonly task: string
  readonly version: string
  readonly predictions: { label: string; score: number; scores: { label: string; score: number }[] }[]
}
