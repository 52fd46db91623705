// Examples that a task was never trained on. The task file holds digests of some of them, so that a resumed run is scored
// on examples that no run before it was trained on, even if the data file has grown or is in another order.

import { createHash } from 'node:crypto'
import { heldOutDigestBytes as digestBytes } from '../petl/task.js'
import { type ExampleSet, type Subset, sample, textsOf, wholeSet } from './example-set.js'
import type { Random } from './random.js'

/** Most digests in a task file: enough to score by, and 4 KB. */
const mostDigests = 500

/** Digests of the tokens of examples, in their order. Equal digests mean equal examples. */
function* digestsOf({ set, examples }: Subset): Iterable<string> {
  for (const example of examples) {
    const hash = createHash('sha256')
    for (const { inputIds, tokenTypeIds } of textsOf(set, example))
      hash.update(JSON.stringify([[...inputIds], [...tokenTypeIds]]))
    yield hash.digest().toString('latin1', 0, digestBytes)
  }
}

/** Digests of held-out examples that do not equal a training example, for a task file: [count · 8] bytes. */
export function recordHeldOut(train: Subset, heldOut: Subset, random: Random): Uint8Array {
  const trained = new Set(digestsOf(train))
  const digests = new Set(digestsOf(sample(heldOut, mostDigests, random)))
  const kept = [...digests].filter((digest) => !trained.has(digest)).sort()
  return Uint8Array.from(Buffer.from(kept.join(''), 'latin1'))
}

const recordedDigests = (recorded: Uint8Array): ReadonlySet<string> =>
  new Set(
    Array.from({ length: recorded.byteLength / digestBytes }, (_, at) =>
      Buffer.from(recorded.subarray(at * digestBytes, (at + 1) * digestBytes)).toString('latin1'),
    ),
  )

/** Splits a set: the recorded examples are the dev part, and all others the training part. */
export function splitByRecord(set: ExampleSet, recorded: Uint8Array): { readonly train: Subset; readonly dev: Subset } {
  const known = recordedDigests(recorded)
  const all = wholeSet(set)
  const isHeldOut = Array.from(digestsOf(all), (digest) => known.has(digest))
  const part = (wanted: boolean): Subset => ({
    set,
    examples: all.examples.filter((_, at) => isHeldOut[at] === wanted),
  })
  return { train: part(false), dev: part(true) }
}

/** Whether any example of a set is recorded. */
export function hasRecorded(set: ExampleSet, recorded: Uint8Array): boolean {
  const known = recordedDigests(recorded)
  for (const digest of digestsOf(wholeSet(set))) if (known.has(digest)) return true
  return false
}
