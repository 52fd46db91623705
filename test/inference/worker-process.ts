// A process at one end of a connection, on descriptor 3. As a worker, it submits requests for ever. As a host, it computes
// nothing, so that the requests of its peer wait.

import { Socket } from 'node:net'
import { toMachineTime } from '../../src/inference/machine-clock.js'
import { RemoteInference } from '../../src/inference/remote-inference.js'
import { hostOf, setUpEngines, submissionOf, tenantOf } from './setup.js'

const [role] = process.argv.slice(2)
const socket = new Socket({ fd: 3 })

async function submitForEver(): Promise<void> {
  const worker = await RemoteInference.connect(socket)
  let number = 0
  const repeat = async () => {
    for (;;) {
      const maskKey = `${process.pid} ${number++}`
      const rows = [20, 30, 40].map((tokens) =>
        submissionOf(tokens, { maskKey, bitset: () => new Uint8Array(200_000) }),
      )
      await worker.submit(tenantOf({ tokensPerSecond: 1e6 }), rows, { deadline: performance.now() + 60_000 })
    }
  }
  void Promise.all(Array.from({ length: 16 }, repeat)).catch(() => process.exit())
  process.send?.('connected')
}

if (role === 'host') {
  const engines = setUpEngines()
  engines.engine.hold()
  hostOf(engines).serve(socket, 'the test')
} else if (role === 'worker') await submitForEver()
else process.on('message', () => process.send?.(toMachineTime(performance.now())))
