// The CPU, which every machine has.

import type { ExecutionProvider } from './provider.js'

export const cpu = {
  label: 'the CPU',
  isDevice: false,
  isExclusive: false,
  mustBeatCpu: false,
  missing: () => undefined,
  numerics: ['float32', 'int8'],
  graph: { bank: 'uint16', gatherHalf: true, fusesTransposed: true },
  bank: 'whole',
  training: { maxRunTokens: 1024 },
} as const satisfies ExecutionProvider
