// Kept texts of servers as users run them: with HTTP workers, after kills, and on two replicas.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { taskBytes, temporaryDirectory } from '../material.js'
import { PostgresServer, withoutPostgres } from '../postgres.js'
import { put, ready, referenceFlags, type ServerProcess, serve, start } from '../server-process.js'

const sst2 = taskBytes('sst2')

const send = (method: string, url: string, body: object) =>
  fetch(url, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
const keep = async (url: string, id: string, days: number | null) => {
  const response = await send('PUT', `${url}/tasks/${id}/settings`, { keep_texts: days === null ? null : { days } })
  assert.equal(response.status, 200)
}
const daysOf = async (url: string, id: string): Promise<number | undefined> => {
  const response = await fetch(`${url}/tasks/${id}/settings`)
  return ((await response.json()) as { keep_texts: { days: number } | null }).keep_texts?.days
}
const predict = async (url: string, id: string, inputs: readonly string[]) =>
  assert.equal((await send('POST', `${url}/tasks/${id}/predict`, { inputs })).status, 200)
const suggested = async (url: string, id: string): Promise<string[]> => {
  const response = await fetch(`${url}/tasks/${id}/suggestions?limit=100`)
  const { texts = [] } = (await response.json()) as { texts?: { text: string }[] }
  return texts.map(({ text }) => text).sort()
}

async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    if (await holds()) return
    await delay(50)
  }
  assert.fail(`timed out waiting until ${what}`)
}

test('texts of predictions at every HTTP worker are kept, from the moment when that is switched on', async () => {
  const { url, process: server, exit } = await serve(await temporaryDirectory(), '--http-workers', '2')
  await put(url, 'mine', sst2)
  await keep(url, 'mine', 7)
  const sent = new Set<string>()
  await until(async () => {
    // Each request has a connection of its own, so that both workers get some.
    const texts = Array.from({ length: 4 }, (_, i) => `text ${sent.size + i}`)
    await Promise.all(texts.map((text) => predict(url, 'mine', [text])))
    for (const text of texts) sent.add(text)
    return (await suggested(url, 'mine')).length >= 8
  }, 'texts are kept')
  await keep(url, 'mine', null)
  assert.deepEqual(await suggested(url, 'mine'), [])
  server.kill('SIGTERM')
  assert.deepEqual(await exit, [0, null])
})

test('the setting and the kept texts survive a kill, and a deletion that was acknowledged is finished', async () => {
  const dataDir = await temporaryDirectory()
  const first = await serve(dataDir)
  for (const id of ['kept', 'off', 'gone']) {
    await put(first.url, id, sst2)
    await keep(first.url, id, 7)
    await predict(first.url, id, ['a text'])
  }
  for (const id of ['kept', 'off', 'gone'])
    await until(async () => (await suggested(first.url, id)).length === 1, 'the text is kept')
  await keep(first.url, 'kept', 30)
  await keep(first.url, 'off', null)
  await fetch(`${first.url}/tasks/gone`, { method: 'DELETE' })
  first.process.kill('SIGKILL')
  await first.exit
  const second = await serve(dataDir)
  assert.equal(await daysOf(second.url, 'kept'), 30)
  assert.deepEqual(await suggested(second.url, 'kept'), ['a text'])
  assert.equal(await daysOf(second.url, 'off'), undefined)
  await put(second.url, 'gone', sst2)
  assert.equal(await daysOf(second.url, 'gone'), undefined)
  for (const id of ['off', 'gone']) {
    await keep(second.url, id, 7)
    assert.deepEqual(await suggested(second.url, id), [])
  }
  second.process.kill('SIGKILL')
  await second.exit
})

test('two replicas keep the texts of both, and obey a setting that was changed at either', {
  skip: withoutPostgres,
}, async () => {
  const postgres = await PostgresServer.start()
  const replica = async (): Promise<ServerProcess> => {
    const env = { ...process.env, PROPETL_DATABASE_URL: postgres.url('postgres') }
    return ready(start([], await referenceFlags(await temporaryDirectory()), { env }))
  }
  const [a, b] = await Promise.all([replica(), replica()])
  await put(a.url, 'mine', sst2)
  await keep(a.url, 'mine', 7)
  await until(async () => (await daysOf(b.url, 'mine')) === 7, 'the other replica has the setting')
  // A replica that asked before the change asks again after a second.
  await delay(1_000)
  await Promise.all([
    predict(a.url, 'mine', ['same', ...Array.from({ length: 50 }, (_, i) => `a ${i}`)]),
    predict(b.url, 'mine', ['same', ...Array.from({ length: 40 }, (_, i) => `b ${i}`)]),
  ])
  for (const { url } of [a, b])
    await until(async () => (await suggested(url, 'mine')).length === 91, 'a replica has all texts')
  await keep(b.url, 'mine', null)
  await until(async () => (await daysOf(a.url, 'mine')) === undefined, 'the other replica has the setting')
  assert.deepEqual(await suggested(a.url, 'mine'), [])
  for (const { process: child, exit } of [a, b]) {
    child.kill('SIGTERM')
    await exit
  }
  await postgres.stop()
})
