// A short form of the fault benchmark, and its ledger of changes.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { faultNames, findingsOf, isFindingMet, missingNeed } from '../../bench/faults/benchmark.js'
import { killAtLmdb } from '../../bench/faults/kills.js'
import { Ledger, verdictOf } from '../../bench/faults/ledger.js'
import type { ServerResponse } from '../../bench/faults/server.js'
import { allFaults } from '../../bench/faults/table.js'
import { version } from '../../bench/faults/task-files.js'
import { digestOf } from '../../src/formats/digest.js'

const response = (status: number, code = ''): ServerResponse => ({
  status,
  code,
  detail: '',
  body: Buffer.alloc(0),
  ms: 0,
})

test('fault names are unique', () => {
  assert.equal(new Set(faultNames).size, allFaults.length)
})

test('a response states that a change was made, was not made, or has an unknown outcome', () => {
  assert.deepEqual(
    [201, 204].map((status) => verdictOf(response(status))),
    ['made', 'made'],
  )
  assert.equal(verdictOf(response(503, 'outcome_unknown')), 'unknown')
  assert.equal(verdictOf(response(0)), 'unknown')
  assert.deepEqual(
    [429, 503].map((status) => verdictOf(response(status, 'storage_failed'))),
    ['not made', 'not made'],
  )
})

describe('the ledger', () => {
  const [one, two] = [version(1), version(2)]
  /** Counts differences when a server gives these responses and then has this file. */
  async function wrongWith(responses: readonly ServerResponse[], stored: Uint8Array | undefined): Promise<number> {
    const ledger = new Ledger()
    const next = responses[Symbol.iterator]()
    const reply = async () => next.next().value ?? assert.fail('there is no further response')
    const server = { put: reply, request: reply, digest: async () => stored && digestOf(stored) }
    for (const [index] of responses.entries()) await ledger.put(server, 'a', index === 0 ? one : two)
    return (await ledger.check(server)).length
  }

  test('finds lost acknowledged changes, and rejected changes that were made', async () => {
    assert.equal(await wrongWith([response(201)], one), 0)
    assert.equal(await wrongWith([response(201)], undefined), 1)
    assert.equal(await wrongWith([response(201), response(200)], one), 1)
    assert.equal(await wrongWith([response(503, 'storage_failed')], undefined), 0)
    assert.equal(await wrongWith([response(503, 'storage_failed')], one), 1)
    assert.equal(await wrongWith([response(201), response(503, 'storage_failed')], two), 1)
  })

  test('accepts both outcomes of an unknown change, and no other', async () => {
    const unknown = response(503, 'outcome_unknown')
    for (const stored of [one, two]) assert.equal(await wrongWith([response(201), unknown], stored), 0)
    for (const stored of [undefined, one.subarray(0, 100)])
      assert.equal(await wrongWith([response(201), unknown], stored), 1)
  })
})

describe('the server handles the fault', () => {
  /** Faults that take seconds. */
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
    test(`${fault.name}: ${fault.cause}`, { skip: missingNeed(fault) ?? false }, async () => {
      assert.deepEqual(
        (await findingsOf(fault)).filter((finding) => !isFindingMet(finding)),
        [],
      )
    })
})
