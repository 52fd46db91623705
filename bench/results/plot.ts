// Draws the mean score against the storage per task as an SVG, with one labelled point per method.

export interface PlotPoint {
  readonly label: string
  /** Bytes; 0 is drawn left of the logarithmic axis. */
  readonly bytes: number
  readonly score: number
}

const width = 760
const height = 440
/** Positions of the axes. Points without storage are drawn at `zero`. */
const frame = { left: 70, right: 730, top: 50, bottom: 370, zero: 105, first: 150 }
const labelHeight = 16
const characterWidth = 6.4
const gap = 10

/** @param points at least one */
export function plot(title: string, points: readonly PlotPoint[]): string {
  const x = xAxis(points.map(({ bytes }) => bytes))
  const y = yAxis(points.map(({ score }) => score))
  const places = points.map((point) => ({ ...point, x: x.of(point.bytes), y: y.of(point.score) }))
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" font-family="sans-serif" font-size="12">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${frame.left}" y="28" font-size="15" fill="#222222">${escaped(title)}</text>`,
    ...y.ticks.map(
      ({ at, label }) =>
        `<line x1="${frame.left}" x2="${frame.right}" y1="${at}" y2="${at}" stroke="#e4e4e4"/>` +
        `<text x="${frame.left - 8}" y="${at + 4}" text-anchor="end" fill="#444444">${label}</text>`,
    ),
    ...x.ticks.map(
      ({ at, label }) =>
        `<line x1="${at}" x2="${at}" y1="${frame.top}" y2="${frame.bottom}" stroke="#e4e4e4"/>` +
        `<text x="${at}" y="${frame.bottom + 18}" text-anchor="middle" fill="#444444">${label}</text>`,
    ),
    `<path d="M${frame.left} ${frame.top}V${frame.bottom}H${frame.right}" fill="none" stroke="#444444"/>`,
    `<text x="${(frame.left + frame.right) / 2}" y="${height - 22}" text-anchor="middle" fill="#222222">storage per task, logarithmic</text>`,
    `<text transform="translate(20 ${(frame.top + frame.bottom) / 2}) rotate(-90)" text-anchor="middle" fill="#222222">mean dev score</text>`,
    ...labelled(places).map(
      ({ x, y, label, textX, textY, lineX }) =>
        `<path d="M${x} ${y}L${lineX} ${textY}" stroke="#9db8dd"/>` +
        `<circle class="point" cx="${x}" cy="${y}" r="5" fill="#1f5fb4"/>` +
        `<text x="${textX}" y="${round(textY + 4)}" fill="#222222" stroke="#ffffff" stroke-width="3" paint-order="stroke">${escaped(label)}</text>`,
    ),
    '</svg>',
  ]
  return `${lines.join('\n')}\n`
}

interface Tick {
  readonly at: number
  readonly label: string
}

interface Axis {
  readonly of: (value: number) => number
  readonly ticks: readonly Tick[]
}

/** Decades of bytes. */
function xAxis(bytes: readonly number[]): Axis {
  const some = bytes.filter((value) => value > 0)
  const low = some.length > 0 ? Math.floor(Math.log10(Math.min(...some))) : 3
  const high = some.length > 0 ? Math.max(Math.ceil(Math.log10(Math.max(...some))), low + 1) : 6
  const of = (value: number) =>
    value === 0
      ? frame.zero
      : round(frame.first + ((Math.log10(value) - low) / (high - low)) * (frame.right - frame.first))
  const decades = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i))
  const none = bytes.includes(0) ? [{ at: frame.zero, label: 'none' }] : []
  return { of, ticks: [...none, ...decades.map((value) => ({ at: of(value), label: byteLabel(value) }))] }
}

/** The range of the scores, extended to round numbers. */
function yAxis(scores: readonly number[]): Axis {
  const range = Math.max(...scores) - Math.min(...scores)
  const step = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2].find((step) => range / step <= 6) ?? 0.5
  const low = Math.floor(Math.min(...scores) / step - 0.5)
  const high = Math.ceil(Math.max(...scores) / step + 0.5)
  const of = (value: number) => round(frame.bottom - ((value / step - low) / (high - low)) * (frame.bottom - frame.top))
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => (low + i) * step)
  return { of, ticks: ticks.map((value) => ({ at: of(value), label: value.toFixed(3) })) }
}

interface Place {
  readonly label: string
  readonly x: number
  readonly y: number
}

interface LabelledPlace extends Place {
  readonly textX: number
  readonly textY: number
  /** Where the line from the point to the label ends. */
  readonly lineX: number
}

/** Places labels right of their points, or left if they do not fit. A label that would cover another moves down. */
function labelled(places: readonly Place[]): LabelledPlace[] {
  const occupied = places.map(({ x, y }) => ({ left: x - 6, right: x + 6, y }))
  return places
    .toSorted((a, b) => a.y - b.y)
    .map((place) => {
      const length = place.label.length * characterWidth
      const fits = place.x + gap + length <= width - gap
      const textX = round(fits ? place.x + gap : Math.max(frame.left + gap, place.x - gap - length))
      const covers = (y: number) =>
        occupied.some(
          ({ left, right, y: other }) => textX < right && textX + length > left && Math.abs(y - other) < labelHeight,
        )
      let textY = place.y
      while (covers(textY)) textY = round(textY + labelHeight / 4)
      occupied.push({ left: textX, right: textX + length, y: textY })
      return { ...place, textX, textY, lineX: fits ? round(textX - 2) : round(textX + length) }
    })
}

const byteLabel = (bytes: number): string =>
  bytes >= 1e6 ? `${bytes / 1e6} MB` : bytes >= 1e3 ? `${bytes / 1e3} kB` : `${bytes} B`

const round = (value: number): number => Math.round(value * 10) / 10

const escaped = (text: string): string => text.replace(/[<>&"]/g, (character) => `&#${character.codePointAt(0)};`)
