import assert from 'node:assert/strict'
import { totalmem } from 'node:os'
import { describe, test } from 'node:test'
import { readConfig } from '../../src/config.js'
import { divideMemory, memoryLimit } from '../../src/costs/memory.js'

const MiB = 1024 * 1024
const divided = (bytes: number, flags: Record<string, string> = {}) =>
  divideMemory({ bytes, source: 'setting' }, readConfig(flags, {}))

describe('the memory of a server', () => {
  test('is what the setting says; else a limit of the container, or the memory of the machine', () => {
    assert.deepEqual(memoryLimit(512 * MiB), { bytes: 512 * MiB, source: 'setting' })
    const { bytes, source } = memoryLimit('auto')
    assert.ok(bytes > 0 && bytes <= totalmem())
    assert.equal(source, bytes === totalmem() ? 'machine' : 'container')
  })

  test('of 1 GiB is divided so that three quarters are left for the model, the engines and the heap', () => {
    const shares = divided(1024 * MiB)
    assert.deepEqual(shares, {
      cache: 64 * MiB,
      tasks: 64 * MiB,
      bodies: 64 * MiB,
      texts: 16 * MiB,
      answers: 96 * MiB,
    })
  })

  test('gives requests and the cache more where there is more, and not without end', () => {
    assert.equal(divided(16 * 1024 * MiB).cache, 1024 * MiB)
    assert.equal(divided(1024 * 1024 * MiB).cache, 1024 * MiB)
    assert.equal(divided(1024 * 1024 * MiB).bodies, 1024 * MiB)
  })

  test('always has room for the largest request that the settings allow', () => {
    const { bodies, tasks, answers } = divided(4096 * MiB, {
      maxUploadBytes: String(100 * MiB),
      maxAnswerBytes: String(64 * MiB),
    })
    // Half of a pool is for one owner; a task file is held twice, and an answer three times.
    assert.equal(bodies, 400 * MiB)
    assert.equal(tasks, 400 * MiB)
    assert.equal(answers, 384 * MiB)
  })

  test('that is too little for the settings is refused, with the settings to change', () => {
    assert.throws(() => divided(1024 * MiB, { maxUploadBytes: String(256 * MiB) }), {
      code: 'invalid_setting',
      message: /^with 1073741824 bytes of memory .* lower one of --max-upload-bytes, .*or give --memory-bytes$/,
    })
  })
})
