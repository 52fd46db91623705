// The examples that example-writer.ts posts. Some texts occur twice, with another label.

import type { NewExample } from '../../src/examples/example.js'

export const killedExamples: readonly NewExample[] = Array.from({ length: 20_000 }, (_, i) => ({
  text: `text ${i % 18_000}`,
  label: i < 18_000 ? `label ${i % 7}` : 'corrected',
  source: 'upload',
}))
