import type { Static } from 'typebox'
import type { StoredExample } from '../examples/example.js'
import type { Dataset } from '../examples/example-store.js'
import type { FileReport } from '../examples/file-reading.js'
import type { exampleSchema, postedSchema } from './schemas/examples.js'

export function reportResponse(report: FileReport, hasSample: boolean): Static<typeof postedSchema>['report'] {
  const { format, columns, names, rows, problemType = null, labels, labelCount, warnings, sample } = report
  return {
    format,
    columns: {
      text: columns.text,
      ...(columns.textPair !== undefined && { pair: columns.textPair }),
      ...(columns.label !== undefined && { label: columns.label }),
      ...(columns.labels && { labels: columns.labels }),
    },
    names,
    rows,
    problem_type: problemType,
    labels,
    label_count: labelCount,
    warnings,
    ...(hasSample && { sample: sample.map(labelledResponse) }),
  }
}

function labelledResponse({ text, textPair, tokens, label, spans }: FileReport['sample'][number]) {
  return {
    ...(text !== undefined && { text }),
    ...(textPair !== undefined && { text_pair: textPair }),
    ...(tokens
      ? { tokens, tags: typeof label === 'object' ? [...label] : [String(label)] }
      : spans
        ? { spans: [...spans] }
        : { label: typeof label === 'object' ? [...label] : label }),
  }
}

export function exampleResponse(example: StoredExample): Static<typeof exampleSchema> {
  const { id, created, updated, by, source, predicted } = example
  return {
    id,
    ...labelledResponse(example),
    created: new Date(created).toISOString(),
    updated: new Date(updated).toISOString(),
    ...(by !== undefined && { by }),
    source,
    ...(predicted && {
      predicted: {
        ...predicted,
        label: typeof predicted.label === 'object' ? [...predicted.label] : predicted.label,
      },
    }),
  }
}

export const countsOf = (dataset: Dataset | undefined) =>
  Object.entries(dataset?.labels ?? {})
    .map(([label, count]) => ({ label, count }))
    .sort((a, b) => b.count - a.count)
