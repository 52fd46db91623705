// Makes a uPlot chart in the colours of the page. In a module of its own, so that pages without charts do not load uPlot.

import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import type { ChartProps } from './chart.js'

type PlotOptions = ChartProps & { readonly height: number; readonly format: (value: number) => string }

/** Steps and versions are whole numbers, and so are the marks of the axis. */
const wholeSteps = [1, 2, 5]
  .flatMap((digit) => [0, 1, 2, 3, 4, 5, 6].map((power) => digit * 10 ** power))
  .sort((a, b) => a - b)

export function newPlot(element: HTMLElement, options: PlotOptions, data: uPlot.AlignedData): uPlot {
  const style = getComputedStyle(element)
  const color = (name: string) => style.getPropertyValue(name).trim()
  const font = `12px ${style.fontFamily}`
  const axis: uPlot.Axis = {
    stroke: color('--soft'),
    grid: { stroke: color('--line'), width: 1 },
    ticks: { show: false },
    font,
  }
  const { lines, height, format, xLabel, xRange, xFormat = String, yFromZero = false } = options
  return new uPlot(
    {
      width: element.clientWidth,
      height,
      padding: [10, 14, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: { time: false, ...(xRange && { range: [...xRange] as [number, number] }) },
        y: {
          range: (_plot, low, high) => {
            const least = yFromZero ? 0 : low
            const room = (high - least) * 0.08 || Math.abs(high) * 0.1 || 1
            return [yFromZero ? 0 : least - room, high + room]
          },
        },
      },
      axes: [
        {
          ...axis,
          size: 28,
          incrs: wholeSteps,
          ...(xLabel !== undefined && { label: xLabel, labelSize: 18, labelFont: font }),
          values: (_plot, splits) => splits.map(xFormat),
        },
        { ...axis, size: 58, values: (_plot, splits) => splits.map(format) },
      ],
      series: [
        {},
        ...lines.map(({ label, color: index, points = false, joined = false, faint = false }) => ({
          label,
          stroke: color(`--c${index}`),
          width: faint ? 1 : 2,
          ...(faint && { dash: [4, 4] }),
          spanGaps: joined,
          points: { show: points && !faint, size: 7, fill: color('--card') },
        })),
      ],
    },
    data,
    element,
  )
}
