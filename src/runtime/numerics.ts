// The table of number formats that a session computes in. Formats are loaded when a session opens, because they load the
// passes of the graph, and the command line needs only their names. Providers say which formats they support.

import type { NumberFormat } from './numerics/number-format.js'

interface Row {
  /** For the documentation of the setting. */
  readonly note?: string
  readonly load: () => Promise<NumberFormat>
}

const rows = {
  float32: { load: async () => (await import('./numerics/float32.js')).float32 },
  float16: { load: async () => (await import('./numerics/float16.js')).float16 },
  int8: {
    note: 'dense layers only, slightly less exact',
    load: async () => (await import('./numerics/int8.js')).int8,
  },
}

export type Numerics = keyof typeof rows
export const numberFormats: Readonly<Record<Numerics, Row>> = rows
export const numerics = Object.keys(rows) as readonly Numerics[]
