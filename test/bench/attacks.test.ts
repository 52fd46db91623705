// The table of attacks, and what they are made of.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { anyAnswer, isAllowed, onlyRefused } from '../../bench/attacks/attack.js'
import { Stage } from '../../bench/attacks/stage.js'
import { allAttacks, attacksByName } from '../../bench/attacks/table.js'
import { attackTask, largestBytes, widestHead } from '../../bench/attacks/task-files.js'
import { limitMemory } from '../../bench/support/memory-limit.js'
import { readTaskFile } from '../../src/petl/task-file.js'

test('every attack has a name of its own', () => {
  assert.equal(attacksByName.size, allAttacks.length)
})

test('an outcome is allowed by its status or by its class', () => {
  assert.ok(isAllowed(onlyRefused, '413 body_too_large'))
  assert.ok(isAllowed(onlyRefused, 'closed'))
  assert.ok(!isAllowed(onlyRefused, '201'))
  assert.ok(isAllowed(anyAnswer, '503 engine_lost'))
  assert.ok(!isAllowed(anyAnswer, '500 internal'))
  assert.ok(!isAllowed(anyAnswer, 'not accepted'))
})

test('files of attacks are sound task files, other versions other files', () => {
  const wide = readTaskFile(attackTask({ labels: widestHead }))
  assert.equal(wide.labels.length, widestHead)
  assert.ok(attackTask({ labels: widestHead }).length <= largestBytes + 100_000)
  const shape = { problemType: 'token_classification', labels: 100, dense: 1 } as const
  const [first, second] = [1, 2].map((version) => readTaskFile(attackTask({ ...shape, version })))
  assert.equal(first?.labels.length, 100)
  assert.notEqual(first?.digest, second?.digest)
  const [one, other] = [1, 2].map((version) => readTaskFile(attackTask({ problemType: 'feature_extraction', version })))
  assert.notEqual(one?.digest, other?.digest)
})

test('a request says the length of its body unless it is told another, and bears the key of its sender', () => {
  const keys = { tenant: 'key-of-tenant', limited: 'key-of-limited', scraper: 'key-of-scraper' }
  const tenant = new Stage('http://127.0.0.1:1234', keys, 'tenant')
  assert.equal(
    tenant.post('/predict', '{}').toString(),
    'POST /predict HTTP/1.1\r\nhost: 127.0.0.1:1234\r\nauthorization: Bearer key-of-tenant\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}',
  )
  const stranger = new Stage('http://127.0.0.1:1234', keys, 'stranger')
  assert.equal(stranger.get('/tasks').toString(), 'GET /tasks HTTP/1.1\r\nhost: 127.0.0.1:1234\r\n\r\n')
  assert.match(stranger.request('PUT', '/', { body: 'a', contentLength: 9 }).toString(), /content-length: 9\r\n\r\na$/)
  assert.doesNotMatch(stranger.request('PUT', '/', { body: 'a', contentLength: null }).toString(), /content-length/)
})

test('a process that takes more memory than its limit ends, another does not', async () => {
  const limit = limitMemory(256 * 1024 * 1024)
  const [program, ...args] = limit.command
  const run = (script: string) => spawnSync(program, [...args, '-e', script], { stdio: 'ignore' })
  assert.equal(run('new Array(1_000_000).fill(0)').status, 0)
  const { status, signal } = run('const all = []; for (;;) all.push(new Array(100_000).fill(all.length))')
  assert.ok(status !== 0, `status ${status}, signal ${signal}`)
  await limit.remove()
})
