// A peer as the comparison sees it.

import type { PeerProcess } from './peer-process.js'
import type { PeerText } from './protocol.js'

export interface Peer {
  readonly name: string
  /** Writes what the peer loads into a directory, and starts it. */
  start(directory: string): Promise<PeerProcess>
  /** Head outputs that texts must have: from a computation that shares neither the peer's runtime nor its graph. */
  expected(texts: readonly PeerText[]): Promise<readonly (readonly number[])[]>
  /** How far its outputs may be from these. */
  readonly tolerance: number
}
