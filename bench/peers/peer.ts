// The interface of a peer: another implementation that the comparison measures against our server.

import type { PeerProcess } from './peer-process.js'
import type { PeerText } from './protocol.js'

export interface Peer {
  readonly name: string
  /** Writes the peer's models to a directory, and starts the peer. */
  start(directory: string): Promise<PeerProcess>
  /** Expected head outputs, from a computation that shares neither the runtime nor the graph of the peer. */
  expected(texts: readonly PeerText[]): Promise<readonly (readonly number[])[]>
  /** Largest allowed difference from the expected outputs. */
  readonly tolerance: number
}
