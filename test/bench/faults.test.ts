// The short form of the benchmark of faults, and what it counts by.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { faultNames, findingsOf, isFoundMet, lackOf } from '../../bench/faults/benchmark.js'
import { killAtLmdb } from '../../bench/faults/kills.js'
import { Ledger, verdictOf } from '../../bench/faults/ledger.js'
import type { Answer } from '../../bench/faults/server.js'
import { allFaults } from '../../bench/faults/table.js'
import { version } from '../../bench/faults/task-files.js'
import { digestOf } from '../../src/formats/digest.js'

const answer = (status: number, code = ''): Answer => ({ status, code, detail: '', body: Buffer.alloc(0), ms: 0 })

test('every fault has a name of its own', () => {
  assert.equal(new Set(faultNames).size, allFaults.length)
})

test('an answer says that a change was made, was not made, or that nobody knows', () => {
  assert.deepEqual(
    [201, 204].map((status) => verdictOf(answer(status))),
    ['made', 'made'],
  )
  assert.equal(verdictOf(answer(503, 'outcome_unknown')), 'unknown')
  assert.equal(verdictOf(answer(0)), 'unknown')
  assert.deepEqual(
    [429, 503].map((status) => verdictOf(answer(status, 'storage_failed'))),
    ['not made', 'not made'],
  )
})

describe('the ledger', () => {
  const [one, two] = [version(1), version(2)]
  /** Answers as it is told, whatever it then has. */
  async function wrongWith(answers: readonly Answer[], stored: Uint8Array | undefined): Promise<number> {
    const ledger = new Ledger()
    const next = answers[Symbol.iterator]()
    const reply = async () => next.next().value ?? assert.fail('there is no further answer')
    const server = { put: reply, ask: reply, digest: async () => stored && digestOf(stored) }
    for (const [index] of answers.entries()) await ledger.put(server, 'a', index === 0 ? one : two)
    return (await ledger.check(server)).length
  }

  test('finds acknowledged changes that are lost, and refused ones that were made', async () => {
    assert.equal(await wrongWith([answer(201)], one), 0)
    assert.equal(await wrongWith([answer(201)], undefined), 1)
    assert.equal(await wrongWith([answer(201), answer(200)], one), 1)
    assert.equal(await wrongWith([answer(503, 'storage_failed')], undefined), 0)
    assert.equal(await wrongWith([answer(503, 'storage_failed')], one), 1)
    assert.equal(await wrongWith([answer(201), answer(503, 'storage_failed')], two), 1)
  })

  test('takes either outcome of a change that is unknown, and nothing else', async () => {
    const unknown = answer(503, 'outcome_unknown')
    for (const stored of [one, two]) assert.equal(await wrongWith([answer(201), unknown], stored), 0)
    for (const stored of [undefined, one.subarray(0, 100)])
      assert.equal(await wrongWith([answer(201), unknown], stored), 1)
  })
})

describe('a server survives', () => {
  /** Those of the table that take seconds. */
  const quick = [
    'segv-main',
    'bus-engine',
    'term-hung-batch',
    'term-full-disk',
    'term-failing-flush',
    'term-silent-clients',
    'directory-removed',
    'directory-shared',
    'disk-full',
    'certificate-sighup',
  ]
  const faults = [...allFaults.filter(({ name }) => quick.includes(name)), killAtLmdb('kill-lmdb', 3, 2)]
  assert.equal(faults.length, quick.length + 1)
  for (const fault of faults)
    test(`${fault.name}: ${fault.does}`, { skip: lackOf(fault) ?? false }, async () => {
      assert.deepEqual(
        (await findingsOf(fault)).filter((finding) => !isFoundMet(finding)),
        [],
      )
    })
})
