// From sending an upload to the first correct prediction of that task: durable, then live.

import { type Benchmark, quantile } from '../support/figures.js'
import { taskFileBytes, withDirectory, withShiftedBias } from '../support/material.js'
import { startServerProcess } from '../support/process.js'

const uploads = 300
const text = 'a gorgeous film'

export const upload: Benchmark = (say) =>
  withDirectory(async (directory) => {
    const server = await startServerProcess(directory)
    const [base = Number.NaN] = await predict(server.url, 'sst2')
    const times: number[] = []
    for (let count = 0; count < uploads; count++) {
      const shift = count + 1
      const file = withShiftedBias(taskFileBytes('sst2'), shift)
      const id = `upload-${count}`
      const start = performance.now()
      const put = await fetch(`${server.url}/tasks/${id}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/octet-stream' },
        body: file,
      })
      if (put.status !== 201) throw new Error(`upload: ${put.status} ${await put.text()}`)
      const [logit = Number.NaN] = await predict(server.url, id)
      times.push(performance.now() - start)
      if (Math.abs(logit - base - shift) > 1e-3)
        throw new Error(`task ${id} answered ${logit}; expected ${base + shift}`)
      if (count % 100 === 99) say(`upload: ${count + 1} of ${uploads}`)
    }
    await server.stop()
    return [
      {
        what: 'upload (durable) to the first correct prediction of that task, p99',
        unit: 'ms',
        value: quantile(times, 0.99),
        spread: [Math.min(...times), Math.max(...times)],
        repeats: uploads,
        target: { atMost: 40 },
        notes: { 'median ms': quantile(times, 0.5) },
      },
    ]
  })

/** The task's logits for the text. */
async function predict(url: string, task: string): Promise<number[]> {
  const answer = await fetch(`${url}/tasks/${task}/predict`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ inputs: text, raw_scores: true }),
  })
  if (!answer.ok) throw new Error(`${task}: ${answer.status} ${await answer.text()}`)
  const { predictions } = (await answer.json()) as { predictions: { scores: { score: number }[] }[] }
  return predictions[0]?.scores.map(({ score }) => score) ?? []
}
