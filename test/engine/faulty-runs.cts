// Loaded into all threads of a server with node --require. Certain words of a text make its engine hang, be slow, or fail.

import fs = require('node:fs')
import threads = require('node:worker_threads')
import ort = require('onnxruntime-node')

interface Faults {
  /** Token ids. */
  readonly hang: number
  readonly slow: number
  readonly fail: number
  /** A named pipe. Opening it blocks in the system call until its other end is opened. */
  readonly pipe: string
  readonly slowMs: number
}

interface Feeds {
  readonly input_ids?: { readonly data: Int32Array }
}

interface Session {
  run(feeds: Feeds, ...rest: unknown[]): Promise<unknown>
}

const { prototype } = ort.InferenceSession as unknown as { readonly prototype: Session }
const { run } = prototype
const data = threads.workerData as { readonly backbone?: object } | null
if (!threads.isMainThread && data?.backbone !== undefined) {
  const { hang, slow, fail, pipe, slowMs } = JSON.parse(process.env.ENGINE_FAULTS ?? '') as Faults
  prototype.run = function (feeds, ...rest) {
    const ids = feeds.input_ids?.data ?? new Int32Array()
    if (ids.includes(hang)) fs.closeSync(fs.openSync(pipe, 'r'))
    if (ids.includes(slow)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, slowMs)
    if (ids.includes(fail))
      setImmediate(() => {
        throw new Error('an uncaught error')
      })
    return run.call(this, feeds, ...rest)
  }
}
