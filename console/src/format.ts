// How numbers, times and names are written.

const number = new Intl.NumberFormat('en', { maximumFractionDigits: 1 })
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })
const date = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short' })
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' })

export const count = (value: number): string => whole.format(value)
export const short = (value: number): string => (value < 10_000 ? number.format(value) : compact.format(value))
/** With a space that does not break. */
export const percent = (share: number): string => `${number.format(share * 100)}\u00a0%`
export const decimal = (value: number, digits = 3): string => value.toFixed(digits)

export const plural = (value: number, one: string, many = `${one}s`): string =>
  `${count(value)} ${value === 1 ? one : many}`

export function bytes(value: number): string {
  const units = ['bytes', 'KB', 'MB', 'GB', 'TB']
  let unit = 0
  let rest = value
  while (rest >= 1000 && unit < units.length - 1) {
    rest /= 1000
    unit++
  }
  return `${number.format(rest)} ${units[unit]}`
}

export const when = (time: string | number): string => date.format(new Date(time))

export function ago(time: string | number): string {
  const seconds = (new Date(time).getTime() - Date.now()) / 1000
  const steps = [
    [60, 1, 'second'],
    [3600, 60, 'minute'],
    [86_400, 3600, 'hour'],
    [86_400 * 30, 86_400, 'day'],
  ] as const
  for (const [below, size, unit] of steps)
    if (Math.abs(seconds) < below) return relative.format(Math.round(seconds / size), unit)
  return when(time)
}

export function duration(seconds: number): string {
  const rounded = Math.max(0, Math.round(seconds))
  if (rounded < 60) return `${rounded} s`
  const minutes = Math.floor(rounded / 60)
  return minutes < 60 ? `${minutes} min ${rounded % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** `single_label_classification` → `single label classification` */
export const words = (name: string): string => name.replaceAll('_', ' ').replace(/\bf1\b/, 'F1')

const problemNames: Readonly<Record<string, string>> = {
  single_label_classification: 'One label per text',
  multi_label_classification: 'Several labels per text',
  regression: 'A number per text',
  token_classification: 'A label per word',
  feature_extraction: 'A vector per text',
}
/** Those that can be learned from examples. */
export const problemTypes = Object.keys(problemNames).filter((type) => type !== 'feature_extraction')
export const problemName = (type: string): string => problemNames[type] ?? words(type)
