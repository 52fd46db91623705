// A thread that takes the device lock, holds it until a message arrives, and reports each step. Run by
// device-lock.test.ts.

import { once } from 'node:events'
import { parentPort } from 'node:worker_threads'
import { withDeviceLock } from '../../src/runtime/device-lock.js'

if (parentPort === null) throw new Error('lock-thread.js runs as a worker thread')
const port = parentPort
port.postMessage('waits')
await withDeviceLock(async () => {
  port.postMessage('has the lock')
  await once(port, 'message')
})
port.postMessage('is done')
port.close()
