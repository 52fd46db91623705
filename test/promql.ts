// Parses PromQL expressions with Prometheus' own grammar, and returns the metrics and labels that they use.

import { parser } from '@prometheus-io/lezer-promql'

export interface Matcher {
  readonly label: string
  readonly operator: string
  readonly value: string
}

export interface Selector {
  readonly metric: string
  readonly matchers: readonly Matcher[]
}

export interface Query {
  readonly selectors: readonly Selector[]
  /** Labels in `by` and `on`. */
  readonly grouped: readonly string[]
}

/** @throws Error if the expression is not PromQL */
export function parsePromql(expression: string): Query {
  const selectors: { metric: string; matchers: Matcher[] }[] = []
  const grouped: string[] = []
  const text = ({ from, to }: { from: number; to: number }) => expression.slice(from, to)
  parser.parse(expression).iterate({
    enter(ref) {
      const { name, type, node } = ref
      if (type.isError) throw new Error(`not PromQL at ${ref.from}: ${expression}`)
      if (name === 'Identifier') selectors.push({ metric: text(ref), matchers: [] })
      if (name === 'GroupingLabels') grouped.push(...node.getChildren('LabelName').map(text))
      if (name === 'UnquotedLabelMatcher') {
        const [label = '', operator = '', quoted = ''] = ['LabelName', 'MatchOp', 'StringLiteral'].map((part) => {
          const child = node.getChild(part)
          return child ? text(child) : ''
        })
        selectors.at(-1)?.matchers.push({ label, operator, value: JSON.parse(quoted) as string })
      }
    },
  })
  return { selectors, grouped }
}
