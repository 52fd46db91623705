// How the active task does, for a fair comparison with a new one: on held-out examples that neither of them was trained on
// or, if there are too few, as its file says.

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { defaultColumns } from '../data/columns.js'
import { openDataFile, textLines } from '../data/data-file.js'
import { placeNumber } from '../data/file-survey.js'
import { UnlearnedLabels } from '../data/unlearned-labels.js'
import { scoreOf } from '../learn/evaluation.js'
import { resampled } from '../learn/intervals.js'
import type { NewTask } from '../learn/new-task.js'
import { problemTraits } from '../learn/problem-traits.js'
import { readTaskFile, type TaskFile } from '../petl/task-file.js'
import { Problem } from '../problem.js'
import type { LearnerDone, LearnerRequest } from './messages.js'
import { finite } from './report.js'

type ActiveScore = Exclude<LearnerDone['activeScore'], undefined>

/** A score of fewer examples says too little. */
const fewestExamples = 30

/**
 * @param lines of the examples of the data
 * @returns undefined if there is no active task, or if its scores cannot be compared with those of the new one
 */
export async function activeScoreOf(
  request: LearnerRequest,
  task: NewTask,
  lines: readonly number[],
  onWarning: (warning: string) => void,
): Promise<ActiveScore | undefined> {
  if (request.active === undefined) return undefined
  try {
    const active = readTaskFile(await readFile(request.active))
    return (await scoreOnUnseen(request, active, task, lines)) ?? recordedScore(active, task)
  } catch (error) {
    // It may belong to a model that the server had before.
    if (!(error instanceof Problem)) throw error
    onWarning(`the active version cannot be compared with the new one: ${error.message}`)
    return undefined
  }
}

async function scoreOnUnseen(
  { directory, prototypeFile, data, newLines, active: path, out, threads }: LearnerRequest,
  active: TaskFile,
  { metric, judged }: NewTask,
  lines: readonly number[],
): Promise<ActiveScore | undefined> {
  if (newLines === undefined || path === undefined || active.problemType !== judged.space.problem) return undefined
  const isNew = new Set((await readFile(newLines, 'utf8')).split('\n').map(Number))
  const unseen = Int32Array.from(judged.heldOut.examples.keys()).filter((at) =>
    isNew.has(lines[judged.heldOut.examples[at] ?? -1] ?? 0),
  )
  if (unseen.length < fewestExamples) return undefined
  const wanted = Array.from(unseen, (at) => lines[judged.heldOut.examples[at] ?? -1] ?? 0)
  const file = join(out, 'unseen.jsonl')
  await copyLines(data, new Set(wanted), file)
  // The code of serving is loaded only when it is needed.
  const { openTaskFile } = await import('../evaluation/local-task.js')
  const { evaluateFile } = await import('../evaluation/evaluate-file.js')
  const opened = await openTaskFile(path, { directory, prototype: prototypeFile, numerics: 'float32', threads })
  try {
    const space = { ...opened.space, unlearned: new UnlearnedLabels() }
    if (!problemTraits[space.problem].metrics(space).includes(metric)) return undefined
    const ignore = () => {}
    const found = await evaluateFile({ ...opened, space }, file, defaultColumns, ignore, ignore, async () => {})
    return {
      score: finite(scoreOf(metric, space, found)),
      newScore: finite(scoreOf(metric, judged.space, resampled(judged.evaluation, unseen))),
      examples: unseen.length,
      measured: 'unseen',
    }
  } finally {
    await opened.close()
  }
}

/** The score that the training of the active task has measured, if it has the same metric. */
function recordedScore(
  { metrics = {}, problemType }: TaskFile,
  { metric, result, judged }: NewTask,
): ActiveScore | undefined {
  if (problemType !== judged.space.problem) return undefined
  for (const part of [metrics.cross_validation, metrics.dev]) {
    const scores = new Map(Object.entries(part ?? {}))
    const [score, rows] = [scores.get(metric), scores.get('rows')]
    if (typeof score !== 'number') continue
    const examples = Number.isInteger(rows) ? Math.max(0, Number(rows)) : 0
    return { score, newScore: finite(result.score), examples, measured: 'recorded' }
  }
  return undefined
}

/** Copies some lines of a file, by their numbers from 1. */
async function copyLines(path: string, wanted: ReadonlySet<number>, to: string): Promise<void> {
  const kept: string[] = []
  for await (const { place, text } of textLines(await openDataFile(path)))
    if (wanted.has(placeNumber(place))) kept.push(text)
  await writeFile(to, `${kept.join('\n')}\n`)
}
