// Tests of the injected thread faults, in a process without signal handlers.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { withoutPreload } from './library.js'
import { busiestThread, ThreadFaults } from './thread-faults.js'

/** A worker computes until the process is killed. The main thread responds to each piece of input. */
const script = `const { Worker } = require('node:worker_threads')
  const worker = new Worker('for (let i = 0; ; i++);', { eval: true })
  worker.once('online', () => process.stdout.write('ready'))
  process.stdin.on('data', () => process.stdout.write('lives'))`

async function computing() {
  const faults = await ThreadFaults.create()
  const env = { ...process.env, ...faults.env }
  const child = spawn(process.execPath, ['--eval', script], { env, stdio: ['pipe', 'pipe', 'inherit'] })
  const { pid, stdout } = child
  assert.ok(pid !== undefined)
  await once(stdout, 'data')
  return { faults, child, pid, stdout, worker: await busiestThread(pid, 300) }
}

describe('thread faults', { skip: withoutPreload }, () => {
  for (const [fault, signal] of [
    ['bad address', 'SIGSEGV'],
    ['truncated map', 'SIGBUS'],
  ] as const)
    for (const where of ['main', 'worker'] as const)
      test(`a ${fault} in the ${where} thread ends the process by ${signal}`, async () => {
        const { faults, child, pid, worker } = await computing()
        assert.notEqual(worker, pid)
        faults.cause(fault, pid, where === 'main' ? pid : worker)
        assert.deepEqual(await once(child, 'exit'), [null, signal])
        faults.close()
      })

  test('an endless loop in a thread does not affect the others', async () => {
    const { faults, child, pid, stdout, worker } = await computing()
    faults.cause('endless loop', pid, worker)
    child.stdin.write('?')
    assert.equal(String((await once(stdout, 'data'))[0]), 'lives')
    child.kill('SIGKILL')
    faults.close()
  })
})
