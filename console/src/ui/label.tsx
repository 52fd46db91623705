// A label of an example or a prediction, which may be a number or several labels.

import type { Example, Label } from '../api/types.js'

export const labelText = (label: Label): string => {
  if (typeof label === 'number') return String(Number(label.toPrecision(4)))
  if (typeof label === 'string') return label
  return label.length === 0 ? 'none' : label.join(', ')
}

/** The label of an example. Of one with labelled words or parts, those that are not `O`. */
export const labelOf = ({ label, tags, spans }: Pick<Example, 'label' | 'tags' | 'spans'>): Label =>
  label ?? spans?.map((span) => span.label) ?? tags?.filter((tag) => tag !== 'O') ?? ''

export const LabelText = ({ label }: { readonly label: Label }) => <span class="label">{labelText(label)}</span>
