// The list of all attacks.

import { anonymousAttacks } from './anonymous.js'
import type { Attack } from './attack.js'
import { largeResponseAttacks } from './large-responses.js'
import { predictionAttacks } from './predictions.js'
import { uploadAttacks } from './uploads.js'

export const allAttacks: readonly Attack[] = [
  ...predictionAttacks,
  ...uploadAttacks,
  ...largeResponseAttacks,
  ...anonymousAttacks,
]

export const attacksByName: ReadonlyMap<string, Attack> = new Map(allAttacks.map((attack) => [attack.name, attack]))
