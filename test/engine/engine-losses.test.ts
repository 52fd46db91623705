// A running server whose engines hang in native code or fail, and a server process that is suspended.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type FaultyServer, serveFaulty, until } from './faulty-server.js'

const engineBytes = 80 * 1024 ** 2
const threadsEndWithinMs = 20_000

const abandonedThreadCount = async ({ get }: FaultyServer): Promise<number> =>
  Number(/^propetl_engine_threads_left_behind (\d+)$/m.exec((await get('/metrics')).text)?.[1])

const losses = async ({ get }: FaultyServer, cause: string): Promise<number> =>
  Number(
    new RegExp(`^propetl_engines_lost_total\\{cause="${cause}"\\} (\\d+)$`, 'm').exec(
      (await get('/metrics')).text,
    )?.[1],
  )

function held({ process: { pid } }: FaultyServer): { readonly threads: number; readonly bytes: number } {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return { threads: readdirSync(`/proc/${pid}/task`).length, bytes: 1024 * Number(kilobytes) }
}

describe('a server whose engines hang', { timeout: 120_000 }, () => {
  test('on one text loses two engines, then rejects the text; other texts are computed, and the threads end once they can', async () => {
    const server = await serveFaulty(['--engine-timeout-ms', '700'])
    const ends: [number, string | undefined][] = []
    for (let attempt = 0; attempt < 4; attempt++) {
      const { status, body } = await server.predict('hang')
      ends.push([status, body.code])
      assert.equal((await server.predict('none')).status, 200)
    }
    assert.deepEqual(ends, [
      [503, 'engine_lost'],
      [503, 'engine_lost'],
      [422, 'text_fails_engines'],
      [422, 'text_fails_engines'],
    ])
    assert.deepEqual([await losses(server, 'hung'), await losses(server, 'failed')], [2, 0])
    assert.equal(await abandonedThreadCount(server), 2)
    assert.match((await server.get('/health/ready')).text, /"engines":\{"configured":1,"available":1,"left_behind":2\}/)
    assert.ok(
      server.log.some(({ msg, cause }) => cause === 'hung' && /^an engine hangs and is abandoned/.test(`${msg}`)),
    )
    server.release()
    await until(async () => (await abandonedThreadCount(server)) === 0)
    server.process.kill('SIGTERM')
    assert.deepEqual(await server.exit, [0, null])
  })

  test('and leave no room for another reports it, and exits with the reason if no thread ends', async () => {
    const server = await serveFaulty(['--engine-timeout-ms', '700', '--engine-start-timeout-ms', '8000'])
    for (const number of [1, 2, 3]) assert.equal((await server.predict('hang', number)).body.code, 'engine_lost')
    await until(async () => /abandoned threads leave no room/.test((await server.get('/health/ready')).text))
    assert.equal((await server.get('/health/ready')).status, 503)
    assert.equal((await server.get('/health/live')).status, 200)
    const reason = /no engine is available: 3 abandoned threads have not ended/
    await until(() => server.log.some((line) => reason.test(JSON.stringify(line))))
    server.release()
    assert.deepEqual(await server.exit, [1, null])
  })
})

test('a server that has lost many engines holds no more threads or memory than before', {
  timeout: 120_000,
}, async () => {
  const server = await serveFaulty(['--engine-timeout-ms', '700'])
  const loseOne = async (number: number) => {
    const fault = number % 2 === 0 ? 'fail' : 'hang'
    assert.equal((await server.predict(fault, number)).body.code, 'engine_lost')
    server.release()
    assert.equal((await server.predict('none')).status, 200)
    await until(async () => (await abandonedThreadCount(server)) === 0)
  }
  await loseOne(0)
  const before = held(server)
  for (let number = 1; number <= 8; number++) await loseOne(number)
  // The threads of the last engine end a little later than it is reported as lost.
  const deadline = performance.now() + threadsEndWithinMs
  await until(() => held(server).threads <= before.threads || performance.now() > deadline)
  const after = held(server)
  assert.ok(after.threads <= before.threads, `${before.threads} threads became ${after.threads}`)
  assert.ok(after.bytes < before.bytes + engineBytes, `${before.bytes} bytes became ${after.bytes}`)
  server.process.kill('SIGTERM')
  assert.deepEqual(await server.exit, [0, null])
})

test('a process that is suspended while an engine computes keeps the engine and responds', {
  timeout: 60_000,
}, async () => {
  const server = await serveFaulty(['--engine-timeout-ms', '2000'], 1_000)
  const response = server.predict('slow')
  await delay(300)
  server.process.kill('SIGSTOP')
  await delay(3_000)
  server.process.kill('SIGCONT')
  assert.equal((await response).status, 200)
  assert.equal(await losses(server, 'hung'), 0)
  server.process.kill('SIGTERM')
  assert.deepEqual(await server.exit, [0, null])
})
