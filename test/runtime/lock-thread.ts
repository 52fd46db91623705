// A thread that asks for the device's turn, keeps it until a message comes, and reports what it does. Run by
// device-turn.test.ts.

import { once } from 'node:events'
import { parentPort } from 'node:worker_threads'
import { withDeviceLock } from '../../src/runtime/device-lock.js'

if (parentPort === null) throw new Error('turn-thread.js runs as a worker thread')
const port = parentPort
port.postMessage('asks')
await withDeviceLock(async () => {
  port.postMessage('has the turn')
  await once(port, 'message')
})
port.postMessage('is done')
port.close()
