// The list of all faults.

import { certificateFaults } from './certificates.js'
import { databaseFaults } from './databases.js'
import { directoryFaults } from './directories.js'
import { diskFaults } from './disks.js'
import { engineFaults } from './engines.js'
import type { Fault } from './fault.js'
import { killFaults } from './kills.js'
import { mirrorFaults } from './mirrors.js'
import { nativeFaults } from './native.js'
import { outcomeFaults } from './outcomes.js'
import { replicaFaults } from './replicas.js'
import { shutdownFaults } from './shutdown.js'

export const allFaults: readonly Fault[] = [
  ...nativeFaults,
  ...shutdownFaults,
  ...engineFaults,
  ...directoryFaults,
  ...diskFaults,
  ...certificateFaults,
  ...replicaFaults,
  ...databaseFaults,
  ...mirrorFaults,
  ...outcomeFaults,
  ...killFaults,
]
