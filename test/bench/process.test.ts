// Commands that benchmarks run in their own process.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { runPropetl } from '../../bench/support/process.js'
import { temporaryDirectory } from '../material.js'

test('the peak memory of a command is that of its own process', async () => {
  const ballast = Buffer.alloc(300_000_000, 1)
  const { peakBytes, seconds } = await runPropetl(['--version'], join(await temporaryDirectory(), 'status'))
  assert.ok(peakBytes > 20e6 && peakBytes < ballast.byteLength, `${peakBytes} bytes`)
  assert.ok(seconds > 0)
})

test('a command that fails is an error with its message', async () => {
  const status = join(await temporaryDirectory(), 'status')
  await assert.rejects(runPropetl(['check', 'missing.csv'], status), /propetl check missing\.csv failed/)
})
