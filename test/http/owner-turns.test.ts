// Fair queueing of requests between tenants.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import fastify from 'fastify'
import { LoopTurns } from '../../src/costs/loop-turns.js'
import { waitForTurns } from '../../src/http/owner-turns.js'
import { RawClient } from '../raw-client.js'

test('a rejected tenant waits for its next turn, and disconnected clients are not served', async (t) => {
  let now = 0
  const turns = new LoopTurns(() => now)
  const app = fastify()
  t.after(() => app.close())
  app.decorateRequest('caller', null)
  app.addHook('onRequest', async (request) => {
    request.caller = { owner: String(request.headers.owner), key: null }
  })
  waitForTurns(app, turns)
  const served: string[] = []
  app.get('/:name', async (request) => {
    served.push(request.url)
    return {}
  })
  app.get('/refused', (_, reply) => reply.code(400).send({}))
  await app.listen({ port: 0 })
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  const ask = (owner: string, name: string) => fetch(`${url}/${name}`, { headers: { owner } })

  await ask('quiet', 'first')
  assert.equal((await ask('busy', 'refused')).status, 400)
  const stays = ask('busy', 'stays')
  const left = new RawClient(url).send('GET /left HTTP/1.1\r\nHost: localhost\r\nOwner: busy\r\n\r\n')
  while (turns.waiting < 2) await ask('quiet', 'meanwhile')
  assert.ok(!served.includes('/stays'))
  const closed = once(left.socket, 'close')
  left.socket.destroy()
  await closed
  // The server has noticed the disconnect once it has served other requests.
  for (let request = 0; request < 5; request++) await ask('quiet', 'meanwhile')
  now = 10
  await stays
  await ask('quiet', 'last')
  assert.ok(served.includes('/stays') && served.includes('/last'))
  assert.ok(!served.includes('/left'))
})
