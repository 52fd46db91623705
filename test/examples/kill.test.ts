// A process that is killed while it writes examples leaves whole transactions, and the same post again completes them.

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ExampleStore } from '../../src/examples/example-store.js'
import { LmdbStore } from '../../src/store/lmdb.js'
import { operator } from '../../src/tenants/tenant.js'
import { usageOf } from '../../src/tenants/usage.js'
import { temporaryDirectory } from '../material.js'
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

function expected(): string[] {
  const labels = new Map(killedExamples.map(({ text, label }) => [text, label]))
  return Array.from(labels, ([text, label]) => `${text}: ${label}`).toSorted()
}
