// The rows of a batch as the input arrays of the graph.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { poolings } from '../../src/backbones/pooling.js'
import { packRows, selectRows } from '../../src/runtime/packed-rows.js'

test('a batch of some rows of a batch has their tokens and their poolings', () => {
  const rows = poolings.flatMap((pooling) =>
    [2, 5, 3].map((length) => ({
      inputIds: Array.from({ length }, (_, at) => at + 1),
      tokenTypeIds: Array.from({ length }, (_, at) => at % 2),
      pooling,
    })),
  )
  const wanted = [11, 1, 3, 9, 4, 7]
  const expected = packRows(wanted.map((at) => rows[at] ?? assert.fail()))
  assert.deepEqual(selectRows(packRows(rows), wanted), expected)
})
