// The report of a run: the machine, the program and the figures. Reports are JSON files, and the benchmarks page is made
// from those in docs/benchmarks.

import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism, cpus, totalmem, type } from 'node:os'
import { join } from 'node:path'
import { type Static, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { type Figure, isMet } from './support/figures.js'

export const reportFormat = 'propetl-bench/1'

/** The order of the groups is that of the benchmarks page. */
export const groups = [
  'Engine',
  'Serving',
  'Against others',
  'Limits and attacks',
  'Faults',
  'Long runs',
  'Training',
  'GPU',
] as const

export type Group = (typeof groups)[number]

const strict = { additionalProperties: false } as const

/** Null stands for a value that could not be measured. */
const measured = Type.Union([Type.Number(), Type.Null()])

const FigureSchema = Type.Object(
  {
    name: Type.String(),
    unit: Type.String(),
    value: measured,
    spread: Type.Tuple([measured, measured]),
    repeats: Type.Integer({ minimum: 1 }),
    target: Type.Optional(
      Type.Union([Type.Object({ atMost: Type.Number() }, strict), Type.Object({ atLeast: Type.Number() }, strict)]),
    ),
    met: Type.Optional(Type.Boolean()),
    notes: Type.Optional(Type.Record(Type.String(), Type.Union([measured, Type.String()]))),
  },
  strict,
)

const ResultSchema = Type.Object(
  {
    benchmark: Type.String(),
    group: Type.Enum(groups),
    command: Type.String(),
    seconds: Type.Number(),
    figures: Type.Array(FigureSchema),
    error: Type.Optional(Type.String()),
  },
  strict,
)

const ReportSchema = Type.Object(
  {
    format: Type.Literal(reportFormat),
    machine: Type.Object(
      {
        cpu: Type.String(),
        cores: Type.Integer(),
        memoryGiB: Type.Number(),
        gpu: Type.Optional(Type.String()),
        os: Type.String(),
        node: Type.String(),
      },
      strict,
    ),
    version: Type.String(),
    date: Type.String(),
    command: Type.String(),
    results: Type.Array(ResultSchema),
  },
  strict,
)

/** One benchmark of a run. It has no figures if it failed. */
export interface Result extends Omit<Static<typeof ResultSchema>, 'figures'> {
  /** The command that repeats this benchmark. */
  readonly command: string
  readonly figures: readonly Figure[]
}

export interface Report extends Omit<Static<typeof ReportSchema>, 'results'> {
  /** Start of the run, ISO 8601. */
  readonly date: string
  readonly results: readonly Result[]
}

export type Machine = Report['machine']

const GiB = 1024 ** 3

/** @param withGpu names the NVIDIA GPU too, if there is one */
export function describeMachine(withGpu: boolean): Machine {
  const gpu = withGpu ? output('nvidia-smi', ['--query-gpu=name', '--format=csv,noheader']) : undefined
  const limit = process.constrainedMemory()
  const memory = limit > 0 ? Math.min(limit, totalmem()) : totalmem()
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown CPU',
    cores: availableParallelism(),
    memoryGiB: Math.round(memory / GiB),
    ...(gpu !== undefined && { gpu }),
    os: `${type()} ${process.arch}`,
    node: process.version,
  }
}

const project = new URL('../../', import.meta.url)

/** The version of the program, with the commit if this is a git checkout. */
export function describeVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('package.json', project), 'utf8')) as { version: string }
  const commit = output('git', ['describe', '--always', '--dirty', '--exclude', '*'])
  return commit === undefined ? version : `${version} (${commit})`
}

/** @returns the first line of a command's output, or undefined if the command fails */
function output(command: string, args: readonly string[]): string | undefined {
  try {
    const text = execFileSync(command, args, { cwd: project, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    return text.split('\n')[0]?.trim() || undefined
  } catch {
    return undefined
  }
}

export function serializeReport(report: Report): string {
  const results = report.results.map((result) => ({
    ...result,
    figures: result.figures.map((figure) => {
      const met = isMet(figure)
      return met === undefined ? figure : { ...figure, met }
    }),
  }))
  const json = JSON.stringify({ ...report, results }, null, 2)
  // Pairs of numbers on one line are easier to read.
  return `${json.replace(/\[\s+([-+.e\d]+|null),\s+([-+.e\d]+|null)\s+\]/g, '[$1, $2]')}\n`
}

const reportCheck = Compile(ReportSchema)

/** @throws Error with the path and the first problem if the file is not a report */
export function readReport(path: string): Report {
  const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
  if (!reportCheck.Check(value)) {
    const [problem] = reportCheck.Errors(value)
    throw new Error(`${path} is not a report of format ${reportFormat}: ${problem?.instancePath} ${problem?.message}`)
  }
  return {
    ...value,
    results: value.results.map((result) => ({ ...result, figures: result.figures.map(figureOf) })),
  }
}

function figureOf({ name, unit, value, spread, repeats, target, notes }: Static<typeof FigureSchema>): Figure {
  const number = (stored: number | null) => stored ?? Number.NaN
  return {
    name,
    unit,
    value: number(value),
    spread: [number(spread[0]), number(spread[1])],
    repeats,
    ...(target && { target }),
    ...(notes && {
      notes: Object.fromEntries(Object.entries(notes).map(([key, note]) => [key, note === null ? Number.NaN : note])),
    }),
  }
}

/** Reads all reports of a directory. */
export function readReports(directory: string): Report[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => readReport(join(directory, name)))
}
