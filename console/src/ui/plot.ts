// Makes a uPlot chart in the colours of the page. In a module of its own, so that pages without charts do not load uPlot.

import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import type { ChartProps } from './chart.js'

type PlotOptions = ChartProps & { readonly height: number; readonly format: (value: number) => string }

export function newPlot(element: HTMLElement, options: PlotOptions, data: uPlot.AlignedData): uPlot {
  const style = getComputedStyle(element)
  const color = (name: string) => style.getPropertyValue(name).trim()
  const axis: uPlot.Axis = {
    stroke: color('--soft'),
    grid: { stroke: color('--line'), width: 1 },
    ticks: { show: false },
    font: `12px ${style.fontFamily}`,
  }
  const { lines, time = false, height, format, xLabel, yFromZero = false } = options
  return new uPlot(
    {
      width: element.clientWidth,
      height,
      legend: { show: false },
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: { time },
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
          ...(xLabel !== undefined && { label: xLabel, labelSize: 20, labelFont: `12px ${style.fontFamily}` }),
          ...(!time && {
            values: (_plot: uPlot, splits: number[]) =>
              splits.map((value) => (Number.isInteger(value) ? String(value) : '')),
          }),
        },
        { ...axis, size: 56, values: (_plot, splits) => splits.map(format) },
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
