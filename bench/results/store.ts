// Finished runs in a file, a line of JSON each. A run is in it whole or not at all: a line that was cut off in the middle
// of its writing is ignored, and the next one takes its place.

import { mkdir, open, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Value } from 'typebox/value'
import { Problem } from '../../src/problem.js'
import { type FinishedRun, runFormat, runSchema } from './run.js'

/** How every line begins. */
const linePrefix = `{"format":${JSON.stringify(runFormat)},`

interface Content {
  readonly runs: readonly FinishedRun[]
  /** Bytes of the whole lines, if a torn one follows them. */
  readonly tornAt: number | undefined
}

/**
 * Reads the finished runs of a store; a store that is not there yet has none.
 * @throws Problem `unreadable_file`, or `invalid_data` naming the line
 */
export const readRuns = async (path: string): Promise<readonly FinishedRun[]> => (await readContent(path)).runs

/** Adds a finished run; when this returns, it is on the disk. @throws Problem `unreadable_file`, `invalid_data` */
export async function appendRun(path: string, { format, ...run }: FinishedRun): Promise<void> {
  const { tornAt } = await readContent(path)
  const file = await openToAppend(path)
  try {
    if (tornAt !== undefined) await file.truncate(tornAt)
    await file.appendFile(`${JSON.stringify({ format, ...run })}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Says before any work is done whether runs can be stored. @throws Problem `unwritable_file` */
export const checkStoreWritable = async (path: string): Promise<void> => (await openToAppend(path)).close()

async function openToAppend(path: string) {
  try {
    await mkdir(dirname(path), { recursive: true })
    return await open(path, 'a')
  } catch (error) {
    throw new Problem('unwritable_file', `${path} cannot be written: ${(error as Error).message}`)
  }
}

async function readContent(path: string): Promise<Content> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return Buffer.alloc(0)
    throw new Problem('unreadable_file', `${path} cannot be read: ${error.message}`)
  })
  const end = bytes.lastIndexOf(10) + 1
  const lines = bytes.toString('utf8', 0, end).split('\n').slice(0, -1)
  const torn = bytes.toString('utf8', end)
  if (!torn.startsWith(linePrefix.slice(0, torn.length))) throwInvalidStore(path, lines.length)
  return { runs: lines.map((line, at) => runOf(line, path, at)), tornAt: torn === '' ? undefined : end }
}

function runOf(line: string, path: string, at: number): FinishedRun {
  let run: unknown
  try {
    run = JSON.parse(line)
  } catch (error) {
    return throwInvalidStore(path, at, `not JSON: ${(error as Error).message}`)
  }
  if (Value.Check(runSchema, run)) return run
  const [first] = Value.Errors(runSchema, run)
  return throwInvalidStore(path, at, first && `${first.instancePath || 'the line'} ${first.message}`)
}

function throwInvalidStore(path: string, at: number, why = ''): never {
  const what = `not a finished run of the format ${runFormat}${why && ` (${why})`}`
  throw new Problem('invalid_data', `${path}:${at + 1}: ${what}; expected what "results run" stores`)
}
