// A process that is killed while it writes examples leaves whole transactions, and the same post again completes them.

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ExampleStore } from '../../src/examples/example-store.js'
import { LmdbStore } from '../../src/store/lmdb.js'
import { operator } from '../../src/tenants/tenant.js'
import { usageOf } from '../../src/tenants/usage.js'
import { temporaryDirectory } from '../material.js'
import { serve } from '../server-process.js'
import { killedExamples } from './killed-examples.js'

const writer = fileURLToPath(new URL('./example-writer.js', import.meta.url))

/** What is stored, without times. @throws AssertionError unless the counts are those of the records */
function stored(directory: string) {
  const store = LmdbStore.open(directory)
  const dataset = new ExampleStore(store).dataset(operator, 't')
  const labels: Record<string, number> = {}
  let bytes = 0
  const texts: string[] = []
  for (const [, record] of store.range('examples')) {
    const { text, label } = JSON.parse(record.toString()) as { text: string; label: string }
    bytes += record.byteLength
    labels[label] = (labels[label] ?? 0) + 1
    texts.push(`${text}: ${label}`)
  }
  assert.equal(dataset?.examples ?? 0, texts.length)
  assert.equal(dataset?.bytes ?? 0, bytes)
  assert.deepEqual({ ...dataset?.labels }, labels)
  const tasks = dataset ? 1 : 0
  assert.deepEqual(usageOf(store, operator), { tasks, bytes, examples: texts.length })
  return { texts: texts.toSorted(), close: () => store.close() }
}

test('examples are complete after kills at random moments and another post', async () => {
  const directory = await temporaryDirectory()
  for (let kill = 0; kill < 4; kill++) {
    const child = fork(writer, [directory])
    await once(child, 'message')
    await delay(20 + Math.random() * 150)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await stored(directory).close()
  }
  const store = LmdbStore.open(directory)
  await new ExampleStore(store).put(operator, 't', killedExamples)
  await store.close()
  const { texts, close } = stored(directory)
  await close()
  assert.deepEqual(texts, expected())
})

test('a post to a server that is killed meanwhile can be repeated, and leaves no file', async () => {
  const dataDir = await temporaryDirectory()
  const body = Array.from({ length: 30_000 }, (_, i) => `text ${i},label ${i % 3}`).join('\n')
  const post = (url: string) =>
    fetch(`${url}/tasks/t/examples`, {
      method: 'POST',
      headers: { 'content-type': 'text/csv' },
      body: `text,label\n${body}\n`,
    })
  const first = await serve(dataDir)
  const interrupted = post(first.url).catch(() => {})
  const total = async () => (await (await fetch(`${first.url}/tasks/t/examples?limit=1`)).json()) as { total?: number }
  while ((await total()).total === undefined) await delay(5)
  first.process.kill('SIGKILL')
  await Promise.all([first.exit, interrupted])
  const second = await serve(dataDir)
  assert.deepEqual(await readdir(join(dataDir, 'uploads')), [])
  const response = await post(second.url)
  assert.equal(response.status, 200)
  const { added, unchanged, total: all } = (await response.json()) as Record<string, number>
  assert.deepEqual([(added ?? 0) + (unchanged ?? 0), all], [30_000, 30_000])
  second.process.kill('SIGTERM')
  assert.deepEqual(await second.exit, [0, null])
  await stored(dataDir).close()
})

function expected(): string[] {
  const labels = new Map(killedExamples.map(({ text, label }) => [text, label]))
  return Array.from(labels, ([text, label]) => `${text}: ${label}`).toSorted()
}
