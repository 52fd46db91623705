// Recognises the rows that annotation tools export (Label Studio, doccano, Argilla, Prodigy), and gives them the columns of
// other data files: `text`, and `label` with a label, a list of labels or labelled spans of the text.

import type { FileRow } from './row-reader.js'

type Values = Readonly<Record<string, unknown>>

/**
 * The row with further columns, if a tool exports such rows: each field and each question by its own name, and `text` and
 * `label` if it is clear which ones are meant. A row that nobody has labelled has null as its label.
 */
export function withAnnotations(row: FileRow): FileRow {
  const { values } = row
  const found =
    labelStudioTask(values) ??
    argillaRecord(values) ??
    oldArgillaRecord(values) ??
    prodigyExample(values) ??
    doccanoExample(values)
  return found ? { ...row, values: found } : row
}

const isObject = (value: unknown): value is Values =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const objectsOf = (value: unknown): readonly Values[] => (Array.isArray(value) ? value.filter(isObject) : [])

/** The columns of an export: its fields, its labels by question, and `text` and `label` where only one can be meant. */
function columnsOf(fields: Values, labels: Values): Values {
  const texts = Object.values(fields).filter((value) => typeof value === 'string')
  const [label] = Object.values(labels)
  return {
    ...(texts.length === 1 && { text: texts[0] }),
    ...(Object.keys(labels).length <= 1 && { label: label ?? null }),
    ...labels,
    ...fields,
  }
}

/**
 * Label Studio's JSON: `data` has the fields of a task, and each annotation has results by the name of the control. The first
 * annotation that was not cancelled counts.
 */
function labelStudioTask({ data, annotations, completions }: Values): Values | undefined {
  const all = annotations ?? completions
  if (!isObject(data) || !Array.isArray(all)) return undefined
  const annotation = objectsOf(all).find(({ was_cancelled }) => was_cancelled !== true)
  if (annotation === undefined) return { ...columnsOf(data, {}), label: null }
  const byControl = new Map<string, Values[]>()
  for (const result of objectsOf(annotation.result)) {
    const { from_name, value } = result
    if (typeof from_name !== 'string' || !isObject(value)) continue
    const values = byControl.get(from_name)
    if (values) values.push(value)
    else byControl.set(from_name, [value])
  }
  const labels = Array.from(byControl, ([name, values]) => [name, labelOfResults(values)] as const)
  // A text in which nothing is labelled has no result.
  return columnsOf(data, labels.length === 0 ? { label: [] } : Object.fromEntries(labels))
}

/** Spans, if a control labels parts of the text; otherwise the chosen labels, or a rating or number. */
function labelOfResults(values: readonly Values[]): unknown {
  const spans = values.filter(({ start, end }) => start !== undefined && end !== undefined)
  if (spans.length > 0) return spans
  const choices = values.flatMap(({ choices }) => (Array.isArray(choices) ? choices : []))
  if (choices.length > 0) return choices
  return values.map(({ rating, number }) => rating ?? number).find((value) => typeof value === 'number') ?? null
}

/** Argilla's records, with fields and with responses to questions. */
function argillaRecord({ fields, responses }: Values): Values | undefined {
  if (!isObject(fields) || !(isObject(responses) || Array.isArray(responses))) return undefined
  const byQuestion = isObject(responses) ? responses : responsesByQuestion(responses)
  const labels = Object.entries(byQuestion).map(([name, given]) => [name, firstResponse(given)] as const)
  return columnsOf(fields, Object.fromEntries(labels.filter(([, label]) => label !== null)))
}

/** Argilla 1 lists the responses of each user: `{"values": {"question": {"value": …}}, "status": "submitted"}`. */
function responsesByQuestion(responses: readonly unknown[]): Values {
  const submitted = objectsOf(responses).find(isSubmitted)
  const values = isObject(submitted?.values) ? submitted.values : {}
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, [value]]))
}

const isSubmitted = ({ status = 'submitted' }: Values): boolean => status === 'submitted'

/** The value of the first response that was submitted; null if there is none. */
function firstResponse(responses: unknown): unknown {
  const all: readonly unknown[] = Array.isArray(responses) ? responses : []
  const found = all.find((response) => !isObject(response) || isSubmitted(response))
  return (isObject(found) ? found.value : found) ?? null
}

/** Records of Argilla before there were questions: `text`, or `inputs` with fields, and `annotation`. */
function oldArgillaRecord(values: Values): Values | undefined {
  const { annotation, inputs, status } = values
  if (annotation === undefined || values.label !== undefined) return undefined
  const label = status === 'Discarded' ? null : annotation
  return {
    ...values,
    ...columnsOf(isObject(inputs) ? inputs : {}, { label }),
    ...(typeof values.text === 'string' && { text: values.text }),
  }
}

/** Prodigy's examples have `spans` or `accept`, and the answer of the annotator. */
function prodigyExample(values: Values): Values | undefined {
  const { answer, spans, accept } = values
  if (answer !== 'accept')
    return typeof answer === 'string' && ['reject', 'ignore'].includes(answer) ? { ...values, label: null } : undefined
  return { ...values, label: spans ?? accept ?? values.label ?? null }
}

/** doccano names labels of parts of a text `label`, `labels` or `entities`, depending on its version and project. */
function doccanoExample(values: Values): Values | undefined {
  if (values.label !== undefined) return undefined
  const { data, text = data } = values
  const label = values.entities ?? values.labels ?? values.spans ?? values.annotations
  return typeof text === 'string' && Array.isArray(label) ? { ...values, text, label } : undefined
}
