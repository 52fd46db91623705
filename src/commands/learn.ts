// `propetl learn`: examples in, a task file out.

import { basename, extname } from 'node:path'
import { settings } from '../config.js'
import type { LabelSpace } from '../learn/label-space.js'
import { loadModel, loadPrototypeFor, loadTaskFile } from '../learn/model.js'
import { type NewTask, trainNewTask } from '../learn/new-task.js'
import { hasHead } from '../learn/problem-traits.js'
import { loadTrainingData } from '../learn/training-data.js'
import { checkTaskFitsPrototype } from '../petl/combining.js'
import type { Combining } from '../petl/task.js'
import { readTaskFile } from '../petl/task-file.js'
import { untilInterrupted } from './interrupt.js'
import { checkWritable, writeAtomically } from './output-file.js'
import { duration, ProgressLine } from './progress-line.js'
import { type CommonTrainingFlags, columnsOf } from './training-options.js'

export interface LearnFlags extends CommonTrainingFlags {
  readonly density: number
  readonly scoreRate: number
  readonly out: string
  readonly maskRows: 'layer' | 'one'
  readonly combine: Combining
  readonly baseline: boolean
  readonly threshold?: number
  readonly normalize: boolean
  readonly description?: string
  readonly resume?: string
  readonly json?: boolean
}

/**
 * Learns a task and writes its file. The first Ctrl-C keeps the best epoch so far, the second ends at once.
 * @returns what to print
 * @throws Problem
 */
export async function learn(path: string, flags: LearnFlags): Promise<string> {
  const start = performance.now()
  const line = new ProgressLine(process.stderr)
  await checkWritable(flags.out)
  const model = await loadModel(flags.modelDir, flags.maxLength)
  const prototype = await loadPrototypeFor(model.backbone)
  const resume = flags.resume === undefined ? undefined : await loadTaskFile(flags.resume, prototype)
  const data = await loadTrainingData(
    model,
    {
      data: path,
      devShare: flags.devShare,
      columns: columnsOf(flags),
      seed: flags.seed,
      ...(flags.dev !== undefined && { dev: flags.dev }),
      ...(flags.problemType && { problem: flags.problemType }),
      ...(flags.metric && { metric: flags.metric }),
      ...(flags.threshold !== undefined && { threshold: flags.threshold }),
      ...(flags.maxRows !== undefined && { maxRows: flags.maxRows }),
    },
    (warning) => line.print(`warning: ${warning}`),
    (file, rows) => line.reading(file, rows),
  )
  const { train, dev, space } = data
  const kind = space.problem.replaceAll('_', ' ')
  const labels = space.range ? `from ${space.range.join(' to ')}` : `${space.labels.length} labels`
  line.print(`${train.examples.length} rows to learn from, ${dev.examples.length} for dev; ${kind}, ${labels}`)

  const { description, resume: _, ...rest } = flags
  const options = {
    ...rest,
    rates: { scores: flags.scoreRate, heads: flags.headRate },
    ...(description !== undefined && { description }),
    ...(resume && { resume }),
  }
  const task = await untilInterrupted(
    (signal) =>
      trainNewTask(model, prototype, data, options, {
        onProgress: (progress) => line.show(progress),
        onBaseline: (done, all) => line.rows('a head alone, to compare with', done, all),
        signal,
      }),
    () => line.print('stopping after this step; what was best so far is kept'),
  )
  checkTaskFitsPrototype(readTaskFile(task.file), prototype)
  await writeAtomically(flags.out, task.file)
  line.print('')
  const took = performance.now() - start
  return flags.json ? jsonReport(task, flags, took) : report(task, space, flags, took)
}

const shownConfusions = 5

function report(
  { file, result, metric, headOnly, confusions }: NewTask,
  { problem }: LabelSpace,
  flags: LearnFlags,
  took: number,
): string {
  const id = basename(flags.out, extname(flags.out))
  const epoch = result.bestEpoch === 0 ? 'as it began' : `epoch ${result.bestEpoch} of ${result.epochs.length}`
  const facts: [string, string][] = [
    [`dev ${metric}`, `${result.score.toFixed(4)} (${epoch}${result.stopped ? ', stopped' : ''})`],
    ...(headOnly === undefined
      ? []
      : [[hasHead(problem) ? 'a head alone' : 'the bare backbone', headOnly.toFixed(4)] as [string, string]]),
    ...confusions
      .slice(0, shownConfusions)
      .map(({ actual, predicted, rows, of }, at): [string, string] => [
        at === 0 ? 'taken for another' : '',
        `${rows} of ${of} "${actual}" for "${predicted}"`,
      ]),
    ['file', `${flags.out}, ${file.byteLength.toLocaleString('en-US')} bytes`],
    ['took', duration(took)],
    ['put it live', uploadCommand(flags.out, id)],
  ]
  return facts.map(([name, value]) => `${name.padEnd(22)} ${value}`).join('\n')
}

/** For a server on this machine, as the environment of this command describes it. */
function uploadCommand(file: string, id: string): string {
  const { PROPETL_PORT: port = settings.port.value, PROPETL_KEY: key } = process.env
  const authorization = key === undefined ? '' : ' -H "authorization: Bearer $PROPETL_KEY"'
  return `curl -X PUT${authorization} --data-binary ${shellWord(`@${file}`)} ${shellWord(`localhost:${port}/tasks/${id}`)}`
}

/** As a shell reads one word. */
const shellWord = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`

function jsonReport({ file, result, metric, headOnly, confusions }: NewTask, flags: LearnFlags, took: number): string {
  return JSON.stringify({
    file: flags.out,
    bytes: file.byteLength,
    metric,
    score: result.score,
    ...(headOnly !== undefined && { head_only: headOnly }),
    epoch: result.bestEpoch,
    epochs: result.epochs,
    stopped: result.stopped,
    confusions,
    seconds: took / 1000,
  })
}
