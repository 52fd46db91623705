// A label of an example or a prediction, which may be a number or several labels.

import type { Label } from '../api/types.js'

export const labelText = (label: Label): string => {
  if (typeof label === 'number') return String(Number(label.toPrecision(4)))
  if (typeof label === 'string') return label
  return label.length === 0 ? 'none' : label.join(', ')
}

export const LabelText = ({ label }: { readonly label: Label }) => <span class="label">{labelText(label)}</span>
