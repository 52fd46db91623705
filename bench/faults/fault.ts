// The definition of a fault: how it is caused, what is expected of the server, and the findings of a run.

import type { Figure } from '../support/figures.js'
import type { Need, Testbed } from './testbed.js'

export interface Fault {
  readonly name: string
  /** What happens to the server, and what it must do, for the report. */
  readonly cause: string
  readonly expected: string
  readonly needs?: readonly Need[]
  readonly run: (testbed: Testbed) => Promise<readonly Finding[]>
}

/** A figure of a fault, with its target. */
export interface Finding extends Pick<Figure, 'name' | 'unit' | 'value' | 'notes'> {
  readonly target: NonNullable<Figure['target']>
}

export const atMost = (name: string, unit: string, value: number, most: number, notes?: Finding['notes']): Finding => ({
  name,
  unit,
  value,
  target: { atMost: most },
  ...(notes && { notes }),
})

/** A finding whose target is an empty list. Reports the number of items and the first of them. */
export const none = (name: string, found: readonly string[], notes?: Finding['notes']): Finding =>
  atMost(name, '', found.length, 0, {
    ...(found.length > 0 && { found: found.slice(0, 5).join('; ').replaceAll(/\s+/g, ' ') }),
    ...notes,
  })

/** @returns a list for {@link none}: empty if `holds`, otherwise the message */
export const unless = (holds: boolean, message: string): string[] => (holds ? [] : [message])
