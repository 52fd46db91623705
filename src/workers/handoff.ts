// Recovers connections that a worker has not accepted. Node's cluster module forgets the connection that it is handing to a worker
// if the worker ends or cannot receive it: the connection stays open, but no process reads it. Here the primary process replies in
// place of that worker, with an internal message of the module. Then the connection goes to another worker, or is closed.

import type { Worker } from 'node:cluster'

/** The message that hands a connection to a worker. The worker gets the next connection after its reply. */
interface NewConnection {
  readonly act: 'newconn'
  readonly seq: number
}

/** Workers that can be handed connections. */
const listening = new Set<Worker>()

/** Call it when the worker is started. */
export function recoverConnections(worker: Worker): void {
  const { process: child } = worker
  let last: number | undefined
  /** Has no effect if the worker has replied itself. */
  const reply = (accepted: boolean) => child.emit('internalMessage', { cmd: 'NODE_CLUSTER', ack: last, accepted })
  const send = child.send.bind(child) as (...args: unknown[]) => boolean
  child.send = (message: unknown, ...rest: unknown[]) => {
    if (isNewConnection(message)) last = message.seq
    return send(message, ...rest)
  }
  // The worker has no free file descriptor. If the others have none either, a rejected connection would be sent in a loop.
  child.on('internalMessage', ({ cmd }: { readonly cmd?: unknown }) => {
    if (cmd === 'NODE_HANDLE_NACK') reply(true)
  })
  worker.once('listening', () => listening.add(worker))
  for (const end of ['disconnect', 'exit']) worker.once(end, () => listening.delete(worker))
  // Everything that the worker has sent is read then.
  child.once('close', () => {
    // Node does not always remove a worker that ends in this state.
    worker.disconnect()
    // Node hands a rejected connection to another worker, and closes its copy of an accepted one, which is the last.
    reply(listening.size === 0)
  })
}

const isNewConnection = (message: unknown): message is NewConnection =>
  typeof message === 'object' && message !== null && 'act' in message && message.act === 'newconn'
