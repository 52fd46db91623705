// Several labels per text, and numbers: what the commands learn and evaluate give users, compared with linear models
// that are fitted to the vectors of the bare backbone for the same rows.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadModelForTraining } from '../../src/learn/model.js'
import { Random } from '../../src/learn/random.js'
import { settings } from '../../src/settings.js'
import { propetl } from './command.js'
import { scoreRivals } from './linear-rivals.js'
import { signed } from './points.js'
import { linesOf } from './store.js'

export interface LinearModelsOptions {
  /** A folder with NAME-train.jsonl and NAME-test.jsonl for each data set. */
  readonly data: string
  readonly sets: readonly string[]
  /** Training rows: the first ones of each training file. */
  readonly rows: number
  readonly splits: number
  readonly threads: number
  readonly print: (line: string) => void
}

/** One score of one split. */
export interface Comparison {
  readonly set: string
  readonly split: number
  readonly metric: string
  readonly learn: number
  readonly rival: string
  readonly rivalScore: number
}

/** The metrics that are compared, of those that apply. */
const metrics = ['macro_f1', 'average_precision', 'pearson', 'r2']

export async function compareLinearModels(options: LinearModelsOptions): Promise<readonly Comparison[]> {
  const { data, sets, rows, splits, threads, print } = options
  const model = await loadModelForTraining(settings.modelDir.value, undefined)
  const folder = await mkdtemp(join(tmpdir(), 'propetl-linear-models-'))
  const file = (name: string) => join(folder, name)
  const found: Comparison[] = []
  try {
    for (const set of sets) {
      const train = (await linesOf(join(data, `${set}-train.jsonl`))).slice(0, rows)
      const test = await linesOf(join(data, `${set}-test.jsonl`))
      for (let split = 1; split <= splits; split++) {
        const parts = splitLines(train, test, split)
        await writeFile(file('train.jsonl'), `${parts.train.join('\n')}\n`)
        await writeFile(file('test.jsonl'), `${parts.test.join('\n')}\n`)
        const task = file('learn.safetensors')
        const learn = ['learn', file('train.jsonl'), '--out', task, '--no-baseline', '--threads', String(threads)]
        const { report, seconds } = await propetl(...learn)
        print(`${set}, split ${split}: learn took ${seconds.toFixed(0)} s, ${report.start}, epoch ${report.epoch}`)
        const evaluated = await propetl('evaluate', task, file('test.jsonl'), '--threads', String(threads))
        const learned = evaluated.report.scores as Readonly<Record<string, { readonly score: number }>>
        for (const rival of await scoreRivals(model, file('train.jsonl'), file('test.jsonl'))) {
          for (const metric of metrics) {
            const [own, theirs] = [learned[metric]?.score, rival.scores[metric]]
            if (own === undefined || theirs === undefined) continue
            const result = { set, split, metric, learn: own, rival: rival.name, rivalScore: theirs }
            found.push(result)
            print(linearModelsRow(`${set}, split ${split}`, [result]))
          }
        }
      }
    }
  } finally {
    await rm(folder, { recursive: true })
  }
  return found
}

/** The first split is that of the files. Further ones divide all rows at random, into parts of the same sizes. */
export function splitLines(train: readonly string[], test: readonly string[], split: number) {
  if (split === 1) return { train, test }
  const all = [...train, ...test]
  const shuffled = Array.from(new Random(split, 'split').order(all.length), (at) => all[at] ?? '')
  return { train: shuffled.slice(0, train.length), test: shuffled.slice(train.length) }
}

/** A Markdown table with the splits of each score, and their mean. */
export function linearModelsTable(comparisons: readonly Comparison[]): string {
  const keyOf = ({ set, metric, rival }: Comparison) => JSON.stringify([set, metric, rival])
  const groups = new Map<string, Comparison[]>()
  for (const one of comparisons) groups.set(keyOf(one), [...(groups.get(keyOf(one)) ?? []), one])
  return [
    '| data | score | learn | linear model | its score | gain in points |',
    '|---|---|---:|---|---:|---:|',
    ...Array.from(groups.values(), (group) => [
      ...group.map((one) => linearModelsRow(`${one.set}, split ${one.split}`, [one])),
      ...(group.length > 1 ? [linearModelsRow(`**${group[0]?.set}, mean of ${group.length} splits**`, group)] : []),
    ]).flat(),
  ].join('\n')
}

function linearModelsRow(title: string, group: readonly Comparison[]): string {
  const mean = (value: (one: Comparison) => number) => group.reduce((sum, one) => sum + value(one), 0) / group.length
  const [learn, rival] = [mean((one) => one.learn), mean((one) => one.rivalScore)]
  const gain = signed(100 * (learn - rival))
  const [first] = group
  return `| ${title} | ${first?.metric} | ${learn.toFixed(4)} | ${first?.rival} | ${rival.toFixed(4)} | ${gain} |`
}
