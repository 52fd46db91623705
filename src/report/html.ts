// Markup from template literals. Values are escaped unless they are markup themselves.

export class Markup {
  constructor(readonly text: string) {}
}

export type Value = string | number | Markup | readonly Markup[]

export const html = (parts: TemplateStringsArray, ...values: readonly Value[]): Markup =>
  new Markup(parts.map((part, at) => part + (at < values.length ? markupOf(values[at] ?? '') : '')).join(''))

export const nothing = new Markup('')

function markupOf(value: Value): string {
  if (value instanceof Markup) return value.text
  if (typeof value === 'object') return value.map(({ text }) => text).join('')
  return String(value).replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
