// Every attack there is.

import type { Attack } from './attack.js'
import { predictionAttacks } from './predictions.js'
import { readerAttacks } from './readers.js'
import { strangerAttacks } from './strangers.js'
import { uploadAttacks } from './uploads.js'

export const allAttacks: readonly Attack[] = [
  ...predictionAttacks,
  ...uploadAttacks,
  ...readerAttacks,
  ...strangerAttacks,
]

export const attacksByName: ReadonlyMap<string, Attack> = new Map(allAttacks.map((attack) => [attack.name, attack]))
