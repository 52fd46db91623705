// Line charts over uPlot, which is loaded with the first chart. A chart has a text alternative, because its canvas says
// nothing to a screen reader.

import { useEffect, useRef, useState } from 'preact/hooks'
import type uPlot from 'uplot'

export interface Line {
  readonly label: string
  /** null: no value at this point. */
  readonly values: readonly (number | null)[]
  /** Number of the colour. */
  readonly color: 1 | 2 | 3
  readonly points?: boolean
  /** Whether the line goes on over points without a value. */
  readonly joined?: boolean
  /** Not in the legend: the bounds of an interval. */
  readonly faint?: boolean
}

export interface ChartProps {
  readonly title: string
  readonly x: readonly number[]
  readonly lines: readonly Line[]
  readonly xLabel?: string
  /** The least and the greatest x. Default: those of the values. */
  readonly xRange?: readonly [number, number]
  readonly xFormat?: (value: number) => string
  readonly height?: number
  readonly format?: (value: number) => string
  readonly yFromZero?: boolean
}

const dark = matchMedia('(prefers-color-scheme: dark)')

export function Chart(props: ChartProps) {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot>(null)
  const [theme, setTheme] = useState(dark.matches)
  const { title, x, lines, height = 220, format = (value: number) => String(Number(value.toPrecision(3))) } = props
  const data = [x, ...lines.map(({ values }) => values)] as unknown as uPlot.AlignedData
  const latest = useRef(data)
  latest.current = data
  const shape = JSON.stringify([lines.map(({ label }) => label), props.xLabel, height, theme])

  useEffect(() => {
    const changed = () => setTheme(dark.matches)
    dark.addEventListener('change', changed)
    return () => dark.removeEventListener('change', changed)
  }, [])

  useEffect(() => {
    const element = place.current
    if (!element) return
    let gone = false
    const resize = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }))
    void import('./plot.js').then(({ newPlot }) => {
      if (gone) return
      plot.current = newPlot(element, { ...props, height, format }, latest.current)
      resize.observe(element)
    })
    return () => {
      gone = true
      resize.disconnect()
      plot.current?.destroy()
      plot.current = null
    }
  }, [shape])

  useEffect(() => plot.current?.setData(data))

  const shown = lines.filter(({ faint }) => !faint)
  const last = (values: Line['values']) => values.findLast((value) => value !== null)
  const summary = shown.map(({ label, values }) => {
    const value = last(values)
    return `${label}: ${value === undefined || value === null ? 'no value yet' : format(value)}`
  })
  return (
    <figure class="chart">
      <figcaption>
        <span>{title}</span>
        <span class="legend">
          {shown.map(({ label, color, values }) => {
            const value = last(values)
            return (
              <span key={label}>
                <i class={`swatch c${color}`} /> {label}
                {value !== undefined && value !== null && <b> {format(value)}</b>}
              </span>
            )
          })}
        </span>
      </figcaption>
      <div ref={place} class="plot" role="img" aria-label={`${title}. Last values: ${summary.join('; ')}.`} />
    </figure>
  )
}
