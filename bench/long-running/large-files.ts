// Memory of the commands check and predict on a CSV file of many rows. The forward passes of the bundled model would take
// most of an hour, so all rows go through a tiny backbone, and a part of them through the bundled model: its memory does
// not depend on the number of rows.

import { copyFile, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { type Benchmark, type Figure, once } from '../support/figures.js'
import { masksDir, modelDir, withTemporaryDirectory } from '../support/material.js'
import { runPropetl } from '../support/process.js'
import { tinyBert, writeRandomBackbone } from '../support/random-backbone.js'

/** Rows for the bundled model. */
const partRows = 10_000
/** Rows that the task of the tiny backbone is trained on. */
const trainingRows = 300

const mostMegabytes = 1_000

export const largeFiles =
  (rows: number): Benchmark =>
  (log) =>
    withTemporaryDirectory(async (directory) => {
      const file = (name: string) => join(directory, name)
      const [all, part, training] = [file('all.csv'), file('part.csv'), file('training.csv')]
      await writeRows(all, rows)
      await writeRows(part, Math.min(rows, partRows))
      await writeRows(training, trainingRows)
      const model = file('model')
      await mkdir(model)
      await writeRandomBackbone(model, tinyBert())
      await copyFile(join(modelDir, 'tokenizer.json'), join(model, 'tokenizer.json'))
      const task = file('task.safetensors')
      await runPropetl(['learn', training, '--model-dir', model, '--out', task], file('status'))

      const measure = async (name: string, ofRows: number, args: readonly string[]): Promise<Figure> => {
        const { seconds, peakBytes } = await runPropetl(args, file('status'))
        log(`large-files: ${name}: ${seconds.toFixed(0)} s`)
        return {
          name: `${name}: peak memory`,
          unit: 'MB',
          ...once(Math.round(peakBytes / 1e6)),
          target: { atMost: mostMegabytes },
          notes: { 'time s': Math.round(seconds), 'rows/s': Math.round(ofRows / seconds) },
        }
      }
      const count = (number: number) => `${number.toLocaleString('en-US')} rows of CSV`
      const sst2 = join(masksDir, 'sst2.safetensors')
      const [few, out] = [Math.min(rows, partRows), file('out.csv')]
      const tiny = ['predict', task, all, '--model-dir', model, '--out', out]
      return [
        await measure(`\`check\` of ${count(rows)}`, rows, ['check', all]),
        await measure(`\`predict\` of ${count(rows)}, one-layer backbone`, rows, tiny),
        await measure(`\`predict\` of ${count(few)}, bundled model`, few, ['predict', sst2, part, '--out', out]),
      ]
    })

const labels = ['rejected', 'open', 'closed']
const words = ['parcel', 'invoice', 'screen', 'door', 'engine', 'window', 'garden', 'ticket', 'river', 'letter']

/** Writes rows with quotes and line breaks. The first million texts all differ. */
async function writeRows(path: string, rows: number): Promise<void> {
  const file = await open(path, 'w')
  try {
    const rowsAtOnce = 10_000
    await file.appendFile('id,text,label\n')
    for (let first = 0; first < rows; first += rowsAtOnce) {
      const length = Math.min(rowsAtOnce, rows - first)
      await file.appendFile(Array.from({ length }, (_, at) => rowText(first + at)).join(''))
    }
  } finally {
    await file.close()
  }
}

function rowText(row: number): string {
  const word = (place: number) => words[Math.floor(row / 10 ** place) % words.length] ?? ''
  const text = `the ${word(0)} and the ${word(1)}, ${word(2)} ${word(3)}${row % 50 === 0 ? ' ""new""\n' : ' '}${word(4)} ${word(5)}`
  return `${row},"${text}",${labels[row % labels.length]}\n`
}
