// Stores finished runs in a file, one line of JSON each. A line whose writing was interrupted is ignored, and the next
// run replaces it.

import { mkdir, open, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Static, TSchema } from 'typebox'
import { Value } from 'typebox/value'
import { Problem } from '../../src/problem.js'
import { type FinishedRun, runFormat, runSchema } from './run.js'

/** The lines of a store: their format, which is their first field, and what writes them. */
export interface LineKind<Schema extends TSchema> {
  readonly format: string
  readonly schema: Schema
  /** The command that stores them. */
  readonly command: string
}

const runLines = { format: runFormat, schema: runSchema, command: 'results run' }

/**
 * Reads the finished runs of a store; a missing file has none.
 * @throws Problem `unreadable_file`, or `invalid_data` naming the line
 */
export const readRuns = (path: string): Promise<readonly FinishedRun[]> => readLines(path, runLines)

/** The lines of a JSON Lines file that users wrote. */
export const linesOf = async (path: string): Promise<readonly string[]> =>
  (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '')

/** Adds a finished run. When this returns, the run is on the disk. @throws Problem `unreadable_file`, `invalid_data` */
export const appendRun = (path: string, run: FinishedRun): Promise<void> => appendLine(path, runLines, run)

/** {@link readRuns} for lines of another kind. */
export const readLines = async <Schema extends TSchema>(
  path: string,
  kind: LineKind<Schema>,
): Promise<readonly Static<Schema>[]> => (await readContent(path, kind)).lines

/** {@link appendRun} for lines of another kind. */
export async function appendLine(path: string, kind: LineKind<TSchema>, line: object): Promise<void> {
  const { completeBytes } = await readContent(path, kind)
  const file = await openToAppend(path)
  try {
    if (completeBytes !== undefined) await file.truncate(completeBytes)
    await file.appendFile(`${JSON.stringify({ format: kind.format, ...line })}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Checks that runs can be stored, before any of them is trained. @throws Problem `unwritable_file` */
export const checkStoreWritable = async (path: string): Promise<void> => (await openToAppend(path)).close()

async function openToAppend(path: string) {
  try {
    await mkdir(dirname(path), { recursive: true })
    return await open(path, 'a')
  } catch (error) {
    throw new Problem('unwritable_file', `${path} cannot be written: ${(error as Error).message}`)
  }
}

interface Content<Line> {
  readonly lines: readonly Line[]
  /** Length of the complete lines in bytes, if an incomplete line follows them. */
  readonly completeBytes: number | undefined
}

async function readContent<Schema extends TSchema>(
  path: string,
  kind: LineKind<Schema>,
): Promise<Content<Static<Schema>>> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return Buffer.alloc(0)
    throw new Problem('unreadable_file', `${path} cannot be read: ${error.message}`)
  })
  const end = bytes.lastIndexOf(10) + 1
  const lines = bytes.toString('utf8', 0, end).split('\n').slice(0, -1)
  const rest = bytes.toString('utf8', end)
  const prefix = `{"format":${JSON.stringify(kind.format)},`
  if (!rest.startsWith(prefix.slice(0, rest.length))) throwInvalidStore(kind, path, lines.length)
  return {
    lines: lines.map((line, at) => parseLine(line, kind, path, at)),
    completeBytes: rest === '' ? undefined : end,
  }
}

function parseLine<Schema extends TSchema>(
  line: string,
  kind: LineKind<Schema>,
  path: string,
  at: number,
): Static<Schema> {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    return throwInvalidStore(kind, path, at, `not JSON: ${(error as Error).message}`)
  }
  if (Value.Check(kind.schema, value)) return value
  const [first] = Value.Errors(kind.schema, value)
  return throwInvalidStore(kind, path, at, first && `${first.instancePath || 'the line'} ${first.message}`)
}

function throwInvalidStore({ format, command }: LineKind<TSchema>, path: string, at: number, why = ''): never {
  const what = `not a finished run of the format ${format}${why && ` (${why})`}`
  throw new Problem('invalid_data', `${path}:${at + 1}: ${what}; expected what "${command}" stores`)
}
