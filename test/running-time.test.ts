// Waits of a process that is stopped or busy count only the time in which it ran.

import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { after, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { within } from '../src/running-time.js'

const children: ChildProcessWithoutNullStreams[] = []
after(() => {
  for (const child of children) child.kill('SIGKILL')
})

/** Runs a program and waits for its first line of output. */
async function run(program: string): Promise<ChildProcessWithoutNullStreams> {
  const module = JSON.stringify(new URL('../src/running-time.js', import.meta.url).href)
  const text = `import { once } from 'node:events'; import { pausedMs, within } from ${module}\n${program}`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', text])
  children.push(child)
  await once(child.stdout, 'data')
  return child
}

async function stopFor(child: ChildProcessWithoutNullStreams, ms: number, meanwhile = () => {}): Promise<void> {
  child.kill('SIGSTOP')
  meanwhile()
  await delay(ms)
  child.kill('SIGCONT')
}

const waiting = `
  const message = once(process.stdin, 'data').then(() => 'message')
  pausedMs()
  console.log('started')
  const end = (await within(1000, message)) ?? 'timeout'
  console.log(end + (pausedMs() > 1000 ? ' after a pause' : ''))
  process.exit()`

describe('a process that is stopped for longer than it waits', () => {
  test('receives a message that arrived while it was stopped', async () => {
    const child = await run(waiting)
    await delay(200)
    await stopFor(child, 2_000, () => child.stdin.write('x'))
    assert.equal(String((await once(child.stdout, 'data'))[0]), 'message after a pause\n')
  })

  test('continues to wait afterwards', async () => {
    const child = await run(waiting)
    await delay(200)
    await stopFor(child, 2_000)
    await delay(300)
    child.stdin.write('x')
    assert.equal(String((await once(child.stdout, 'data'))[0]), 'message after a pause\n')
  })

  test('still times out if no message arrives', async () => {
    const child = await run(waiting)
    await stopFor(child, 1_500)
    assert.equal(String((await once(child.stdout, 'data'))[0]), 'timeout after a pause\n')
  })
})

test('a message that a thread sent while the event loop was blocked is received in time', async (t) => {
  const worker = new Worker(
    "const { parentPort } = require('node:worker_threads'); parentPort.once('message', () => parentPort.postMessage('x'))",
    { eval: true },
  )
  t.after(() => worker.terminate())
  await once(worker, 'online')
  const message = within(100, once(worker, 'message'))
  worker.postMessage('x')
  const until = performance.now() + 600
  while (performance.now() < until);
  assert.deepEqual(await message, ['x'])
})

test('an abort signal ends a wait', async () => {
  const abort = new AbortController()
  const waited = within(Number.POSITIVE_INFINITY, new Promise(() => {}), abort.signal)
  abort.abort()
  assert.equal(await waited, undefined)
})
