// A server process that is paused, like a virtual machine. Clients that behaved correctly get their responses.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { temporaryDirectory } from './material.js'
import { RawClient, request } from './raw-client.js'
import { type ServerProcess, serve } from './server-process.js'

async function stopFor({ process }: ServerProcess, ms: number, meanwhile: () => void): Promise<void> {
  process.kill('SIGSTOP')
  meanwhile()
  await delay(ms)
  process.kill('SIGCONT')
}

describe('a client of a paused server', { timeout: 60_000 }, () => {
  test('gets its response if it sent its request during the pause, on a new or an idle connection', async () => {
    const timeouts = ['--headers-timeout-ms', '1000', '--receive-timeout-ms', '1000', '--keep-alive-timeout-ms', '1000']
    const server = await serve(await temporaryDirectory(), ...timeouts)
    const bytes = request('POST', '/tasks/sst2/predict', JSON.stringify({ inputs: 'a gorgeous film' }))
    const [inHeaders, inBody, idle] = [20, bytes.length - 5, 0].map((sent) => ({
      client: new RawClient(server.url).send(bytes.slice(0, sent)),
      rest: bytes.slice(sent),
    }))
    assert.ok(inHeaders && inBody && idle)
    idle.client.send(bytes)
    assert.equal((await idle.client.first(1))[0]?.status, 200)
    const all = [inHeaders, inBody, idle]
    await stopFor(server, 3_000, () => {
      for (const { client, rest } of all) client.send(rest)
    })
    assert.deepEqual(
      await Promise.all(all.map(async ({ client }, at) => (await client.first(at === 2 ? 2 : 1)).at(-1)?.status)),
      [200, 200, 200],
    )
    server.process.kill('SIGTERM')
    assert.deepEqual(await server.exit, [0, null])
  })
})
