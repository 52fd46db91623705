// The reports that commands print: one line for each fact, with the names in a column.

export type Fact = readonly [name: string, value: string]

export const factLines = (facts: readonly Fact[]): string =>
  facts.map(([name, value]) => `${name.padEnd(22)} ${value}`).join('\n')

/** Facts of one kind: only the first has the name. */
export const listed = (name: string, values: readonly string[]): Fact[] =>
  values.map((value, at) => [at === 0 ? name : '', value])
