// What a fault is: how it is caused, what must happen, and what a run of it found.

import type { Figure } from '../support/figures.js'
import type { Stage } from './stage.js'

/** What this machine may lack. */
export type Need = 'preload' | 'postgres' | 'root'

export interface Fault {
  readonly name: string
  /** For people. */
  readonly does: string
  readonly must: string
  readonly needs?: readonly Need[]
  readonly run: (stage: Stage) => Promise<readonly Finding[]>
}

/** A measured figure of a fault, with what it must be. */
export interface Finding extends Pick<Figure, 'what' | 'unit' | 'value' | 'notes'> {
  readonly target: NonNullable<Figure['target']>
}

export const atMost = (what: string, unit: string, value: number, most: number, notes?: Finding['notes']): Finding => ({
  what,
  unit,
  value,
  target: { atMost: most },
  ...(notes && { notes }),
})

/** Things that must not happen. */
export const none = (what: string, found: readonly string[], notes?: Finding['notes']): Finding =>
  atMost(what, '', found.length, 0, {
    ...(found.length > 0 && { found: found.slice(0, 5).join('; ').replaceAll(/\s+/g, ' ') }),
    ...notes,
  })

/** @returns what is not as it must be, as a list for {@link none} */
export const unless = (holds: boolean, otherwise: string): string[] => (holds ? [] : [otherwise])
