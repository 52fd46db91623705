// Chooses or writes a label: one of the known ones, several of them, or a number.

import { useId } from 'preact/hooks'
import type { Label } from '../api/types.js'

export type LabelKind = 'one' | 'several' | 'number'

export const kindOf = (problemType: string | undefined): LabelKind =>
  problemType === 'multi_label_classification' ? 'several' : problemType === 'regression' ? 'number' : 'one'

/** What was written, as a label. Undefined while it is not one. */
export function parseLabel(kind: LabelKind, text: string): Label | undefined {
  const trimmed = text.trim()
  if (kind === 'several')
    return trimmed
      .split(',')
      .map((label) => label.trim())
      .filter((label) => label !== '')
  if (trimmed === '') return undefined
  if (kind === 'one') return trimmed
  const number = Number(trimmed)
  return Number.isFinite(number) ? number : undefined
}

export function LabelInput({
  kind,
  labels,
  value,
  id,
  label,
  onInput,
  onKeyDown,
  onBlur,
}: {
  readonly kind: LabelKind
  readonly labels: readonly string[]
  readonly value: string
  readonly id?: string
  /** Its accessible name, unless a label element has it. */
  readonly label?: string
  readonly onInput: (value: string) => void
  readonly onKeyDown?: (event: KeyboardEvent) => void
  readonly onBlur?: () => void
}) {
  const list = useId()
  return (
    <>
      <input
        type="text"
        class="label-input"
        {...(id !== undefined && { id })}
        {...(label !== undefined && { 'aria-label': label })}
        {...(kind === 'one' && { list })}
        inputMode={kind === 'number' ? 'decimal' : 'text'}
        placeholder={kind === 'several' ? 'labels with commas' : kind === 'number' ? 'a number' : 'label'}
        autocomplete="off"
        value={value}
        onInput={({ currentTarget }) => onInput(currentTarget.value)}
        {...(onKeyDown && { onKeyDown })}
        {...(onBlur && { onBlur })}
      />
      {kind === 'one' && (
        <datalist id={list}>
          {labels.slice(0, 200).map((each) => (
            <option key={each} value={each} />
          ))}
        </datalist>
      )}
    </>
  )
}
