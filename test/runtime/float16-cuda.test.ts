// Every family with each kind of module in float16 on CUDA, compared with float32 on the CPU. Runs only with
// PROPETL_TEST_PROVIDER=cuda.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { readBackbone } from '../../src/backbones/backbone.js'
import { relativeDistance } from '../../src/runtime/float16-session.js'
import { packRows } from '../../src/runtime/packed-rows.js'
import { EngineSession } from '../../src/runtime/session.js'
import { directoryOf, prototypeFor, tinyBackbones, tinyModules, tinyRows } from '../backbones/tiny.js'
import { testProvider } from '../material.js'

const skip = testProvider !== 'cuda' && 'needs the CUDA provider'

/** Differs by less than this from float32, as ‖a − b‖ / ‖b‖ over all rows. */
const bound = 0.01

/** The bits of three slots. Those of the last one, for bare rows, are 0. */
const bitsets = (size: number): Uint8Array<ArrayBuffer> =>
  Uint8Array.from({ length: 3 * size }, (_, i) => (i < 2 * size ? (i * 167 + (i >> 3) * 29 + 11) & 255 : 0))

for (const name of tinyBackbones)
  describe(`a tiny ${name} in float16 on CUDA`, { skip }, () => {
    // disentangled.test.ts shows that a prefix does not fit DeBERTa.
    for (const module of tinyModules.filter((each) => each?.kind !== 'prefix' || !name.startsWith('deberta')))
      test(`computes what float32 does: ${module ? JSON.stringify(module) : 'no module'}`, async () => {
        const backbone = await readBackbone(directoryOf(name))
        const prototype = module && prototypeFor(backbone, module)
        const texts = tinyRows(name)
        const withBareRow = texts.map((text, at) => ({ ...text, bare: at === 3 }))
        const outputs = []
        for (const [provider, numerics] of [
          ['cuda', 'float16'],
          ['cpu', 'float32'],
        ] as const) {
          const session = await EngineSession.open(provider, numerics, { backbone, prototype, threads: 1, slots: 3 })
          if (prototype) {
            const bits = bitsets(prototype.layers * prototype.maskBytes)
            await session.load({ slots: [0, 1, 2], planes: [1, 1, 1], bitsets: bits })
          }
          const [usual, mixed] = [
            await session.run(packRows(texts), Int32Array.of(0, 1, 1, 0), false),
            await session.run(packRows(withBareRow), Int32Array.of(0, 1, 1, 2), true),
          ]
          await session.release()
          outputs.push([usual.pooled, mixed.pooled, mixed.hidden ?? assert.fail('there are no hidden states')])
        }
        const [half = [], full = []] = outputs
        for (const [at, exact] of full.entries()) {
          const error = relativeDistance(half[at] ?? new Float32Array(), exact)
          assert.ok(error < bound, `output ${at}: error ${error}`)
        }
      })
  })
