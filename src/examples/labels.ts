// Checks labels that a request gives as JSON. They must be labels that a data file can have, because training reads a file.

import { isMissing, looksLikeList } from '../data/label-cells.js'
import type { LabelledSpan } from '../data/label-spans.js'
import { withoutSpace } from '../formats/spans.js'
import { Problem, quoted } from '../problem.js'
import type { ExampleText, NewExample } from './example.js'

/** What a request says about an example. */
export interface GivenLabel {
  readonly label?: string | number | readonly string[] | undefined
  /** The label of each word. */
  readonly tags?: readonly string[] | undefined
  readonly spans?: readonly LabelledSpan[] | undefined
}

const invalid = (what: string): Problem => new Problem('invalid_data', what)

/**
 * The label of an example.
 * @throws Problem `invalid_data` if it does not fit the text, or a data file could not have it
 */
export function labelFor(
  { text = '', tokens }: ExampleText,
  { label, tags, spans }: GivenLabel,
): Pick<NewExample, 'label' | 'spans'> {
  const given = [label, tags, spans].filter((each) => each !== undefined)
  if (given.length !== 1) throw invalid('give exactly one of label, tags and spans')
  if (tokens) {
    if (tags === undefined) throw invalid('the example has words; give a label for each in tags')
    if (tags.length !== tokens.length)
      throw invalid(`there are ${tags.length} tags, but the example has ${tokens.length} words`)
    return { label: tags.map(nameOf) }
  }
  if (tags) throw invalid('the example has a text and no words; give a label')
  if (spans) return { label: [], ...(spans.length > 0 && { spans: checkedSpans(text, spans) }) }
  if (typeof label === 'object') return { label: [...new Set(label.map(nameOf))] }
  if (typeof label === 'number') return { label: label === 0 ? 0 : label }
  const name = nameOf(label ?? '')
  if (isMissing(name) || looksLikeList(name))
    throw invalid(
      `the label ${quoted(name)} means ${isMissing(name) ? 'no label' : 'a list'} in data files; give ${isMissing(name) ? 'another name' : 'an array'}`,
    )
  return { label: name }
}

function nameOf(label: string): string {
  const name = label.trim()
  if (name === '') throw invalid('a label is empty; expected a name')
  return name
}

function checkedSpans(text: string, spans: readonly LabelledSpan[]): readonly LabelledSpan[] {
  const sorted = spans
    .map(({ start, end, label }) => {
      if (start >= end || end > text.length)
        throw invalid(
          `the ${quoted(label)} from ${start} to ${end} is not a part of the text, which has ${text.length} characters`,
        )
      return { ...withoutSpace(text, { start, end }), label: nameOf(label) }
    })
    .filter(({ start, end }) => start < end)
    .sort((a, b) => a.start - b.start)
  for (const [at, span] of sorted.entries()) {
    const next = sorted[at + 1]
    if (next && next.start < span.end)
      throw invalid(`the ${quoted(span.label)} at ${span.start} overlaps the ${quoted(next.label)} at ${next.start}`)
  }
  return sorted
}
