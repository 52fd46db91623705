import assert from 'node:assert/strict'
import { totalmem } from 'node:os'
import { describe, test } from 'node:test'
import { readConfig } from '../../src/config.js'
import { divideMemory, learningMemory, memoryLimit } from '../../src/costs/memory.js'

const MiB = 1024 * 1024
const divided = (bytes: number, flags: Record<string, string> = {}, processes = 1) =>
  divideMemory({ bytes, source: 'setting' }, readConfig(flags, {}), processes)

const sharesOfGiB = { cache: 64 * MiB, tasks: 64 * MiB, bodies: 64 * MiB, texts: 16 * MiB, answers: 96 * MiB }

describe('the memory of processes that train tasks', () => {
  const learning = (bytes: number, flags: Record<string, string> = {}, reserved = 300 * MiB) =>
    learningMemory({ bytes, source: 'setting' }, readConfig(flags, {}), reserved)

  test('is a quarter of the limit, and at least 1 GiB if that is at most half of it', () => {
    assert.equal(learning(16 * 1024 * MiB).perJob, 4 * 1024 * MiB)
    assert.equal(learning(2 * 1024 * MiB).perJob, 1024 * MiB)
    assert.equal(learning(1024 * MiB).perJob, 256 * MiB)
    assert.deepEqual(learning(16 * 1024 * MiB, { learningJobs: '4' }), { perJob: 1024 * MiB, all: 4 * 1024 * MiB })
    assert.deepEqual(learning(1024 * MiB, { learningJobs: '0' }), { perJob: 0, all: 0 })
  })

  test('is less if requests and the cache reserve much, and a setting that does not fit is rejected', () => {
    assert.equal(learning(2 * 1024 * MiB, {}, 1000 * MiB).all, (1536 - 1000) * MiB)
    assert.throws(() => learning(2 * 1024 * MiB, { learningMemoryBytes: String(1300 * MiB) }), {
      code: 'invalid_setting',
      message: /Lower --learning-memory-bytes or --learning-jobs, or raise --memory-bytes$/,
    })
  })
})

describe('the memory of a server', () => {
  test('is the setting, or else the limit of the container, or the memory of the machine', () => {
    assert.deepEqual(memoryLimit(512 * MiB), { bytes: 512 * MiB, source: 'setting' })
    const { bytes, source } = memoryLimit('auto')
    assert.ok(bytes > 0 && bytes <= totalmem())
    assert.equal(source, bytes === totalmem() ? 'machine' : 'container')
  })

  test('of 1 GiB is divided so that more than two thirds remain for the model, the engines and the heap', () => {
    assert.deepEqual(divided(1024 * MiB), sharesOfGiB)
  })

  test('gives requests and the cache more on larger machines, up to a limit', () => {
    assert.equal(divided(16 * 1024 * MiB).cache, 1024 * MiB)
    assert.equal(divided(1024 * 1024 * MiB).cache, 1024 * MiB)
    assert.equal(divided(1024 * 1024 * MiB).bodies, 1024 * MiB)
  })

  test('always has room for the largest request that the settings allow', () => {
    const { bodies, tasks, answers } = divided(4096 * MiB, {
      maxUploadBytes: String(100 * MiB),
      maxAnswerBytes: String(64 * MiB),
    })
    // An owner gets half of a pool. A task file counts twice, and a response three times.
    assert.equal(bodies, 400 * MiB)
    assert.equal(tasks, 400 * MiB)
    assert.equal(answers, 384 * MiB)
  })

  test('that is too small for the settings is rejected, and the error names the settings to change', () => {
    assert.throws(() => divided(1024 * MiB, { maxUploadBytes: String(256 * MiB) }), {
      code: 'invalid_setting',
      message:
        /^the settings reserve \d+ bytes .* with 1073741824 bytes of memory .* Lower one of --max-upload-bytes, .*or raise --memory-bytes$/,
    })
  })

  test('is divided evenly among processes, each of which has room for the largest request', () => {
    assert.deepEqual(divided(4096 * MiB, {}, 4), sharesOfGiB)
    assert.throws(() => divided(1024 * MiB, {}, 4), { message: /of 4 processes; .*Lower one of --http-workers, / })
  })
})
