// Stores finished runs in a file, one line of JSON each. A line whose writing was interrupted is ignored, and the next
// run replaces it.

import { mkdir, open, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Value } from 'typebox/value'
import { Problem } from '../../src/problem.js'
import { type FinishedRun, runFormat, runSchema } from './run.js'

/** The first characters of every line. */
const linePrefix = `{"format":${JSON.stringify(runFormat)},`

interface Content {
  readonly runs: readonly FinishedRun[]
  /** Length of the complete lines in bytes, if an incomplete line follows them. */
  readonly completeBytes: number | undefined
}

/**
 * Reads the finished runs of a store; a missing file has none.
 * @throws Problem `unreadable_file`, or `invalid_data` naming the line
 */
export const readRuns = async (path: string): Promise<readonly FinishedRun[]> => (await readContent(path)).runs

/** Adds a finished run. When this returns, the run is on the disk. @throws Problem `unreadable_file`, `invalid_data` */
export async function appendRun(path: string, { format, ...run }: FinishedRun): Promise<void> {
  const { completeBytes } = await readContent(path)
  const file = await openToAppend(path)
  try {
    if (completeBytes !== undefined) await file.truncate(completeBytes)
    await file.appendFile(`${JSON.stringify({ format, ...run })}\n`)
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

async function readContent(path: string): Promise<Content> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return Buffer.alloc(0)
    throw new Problem('unreadable_file', `${path} cannot be read: ${error.message}`)
  })
  const end = bytes.lastIndexOf(10) + 1
  const lines = bytes.toString('utf8', 0, end).split('\n').slice(0, -1)
  const rest = bytes.toString('utf8', end)
  if (!rest.startsWith(linePrefix.slice(0, rest.length))) throwInvalidStore(path, lines.length)
  return { runs: lines.map((line, at) => runOf(line, path, at)), completeBytes: rest === '' ? undefined : end }
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
