// The list of attacks, and the requests and files that they send.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { anyResponse, isAllowed, onlyRejected } from '../../bench/attacks/attack.js'
import { allAttacks, attacksByName } from '../../bench/attacks/table.js'
import { AttackTarget } from '../../bench/attacks/target.js'
import { attackTask, largestBytes, widestHead } from '../../bench/attacks/task-files.js'
import { limitMemory } from '../../bench/support/memory-limit.js'
import { readTaskFile } from '../../src/petl/task-file.js'

test('attack names are unique', () => {
  assert.equal(attacksByName.size, allAttacks.length)
})

test('a status or its class allows an outcome', () => {
  assert.ok(isAllowed(onlyRejected, '413 body_too_large'))
  assert.ok(isAllowed(onlyRejected, 'closed'))
  assert.ok(!isAllowed(onlyRejected, '201'))
  assert.ok(isAllowed(anyResponse, '503 engine_lost'))
  assert.ok(!isAllowed(anyResponse, '500 internal'))
  assert.ok(!isAllowed(anyResponse, 'not accepted'))
})

test('task files of attacks are valid, and their versions have different digests', () => {
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

test('a request has the content-length of its body unless overridden, and the key of its sender', () => {
  const keys = { tenant: 'key-of-tenant', limited: 'key-of-limited', scraper: 'key-of-scraper' }
  const tenant = new AttackTarget('http://127.0.0.1:1234', keys, 'tenant')
  assert.equal(
    tenant.post('/predict', '{}').toString(),
    'POST /predict HTTP/1.1\r\nhost: 127.0.0.1:1234\r\nauthorization: Bearer key-of-tenant\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}',
  )
  const anonymous = new AttackTarget('http://127.0.0.1:1234', keys, 'anonymous')
  assert.equal(anonymous.get('/tasks').toString(), 'GET /tasks HTTP/1.1\r\nhost: 127.0.0.1:1234\r\n\r\n')
  assert.match(anonymous.request('PUT', '/', { body: 'a', contentLength: 9 }).toString(), /content-length: 9\r\n\r\na$/)
  assert.doesNotMatch(anonymous.request('PUT', '/', { body: 'a', contentLength: null }).toString(), /content-length/)
})

test('a process above its memory limit is terminated, and one below is not', async () => {
  const limit = limitMemory(256 * 1024 * 1024)
  const [program, ...args] = limit.command
  const run = (script: string) => spawnSync(program, [...args, '-e', script], { stdio: 'ignore' })
  assert.equal(run('new Array(1_000_000).fill(0)').status, 0)
  const { status, signal } = run('const all = []; for (;;) all.push(new Array(100_000).fill(all.length))')
  assert.ok(status !== 0, `status ${status}, signal ${signal}`)
  await limit.remove()
})
