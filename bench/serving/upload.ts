// The time from sending an upload to the first correct prediction of the new task. The upload is durable by then.

import { type Benchmark, quantile } from '../support/figures.js'
import { taskFileBytes, withShiftedBias, withTemporaryDirectory } from '../support/material.js'
import { startServerProcess } from '../support/process.js'

const uploads = 300
const text = 'a gorgeous film'

export const upload: Benchmark = (log) =>
  withTemporaryDirectory(async (directory) => {
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
      if (put.status !== 201) throw new Error(`the upload of ${id} returned ${put.status}: ${await put.text()}`)
      const [logit = Number.NaN] = await predict(server.url, id)
      times.push(performance.now() - start)
      if (Math.abs(logit - base - shift) > 1e-3)
        throw new Error(`task ${id} predicted the logit ${logit}; expected ${base + shift}`)
      if (count % 100 === 99) log(`upload: ${count + 1} of ${uploads}`)
    }
    await server.stop()
    return [
      {
        name: 'Upload: from request to the first correct prediction of the new task, p99',
        unit: 'ms',
        value: quantile(times, 0.99),
        spread: [Math.min(...times), Math.max(...times)],
        repeats: uploads,
        target: { atMost: 40 },
        notes: { 'median ms': quantile(times, 0.5) },
      },
    ]
  })

/** @returns the logits of the task for the text */
async function predict(url: string, task: string): Promise<number[]> {
  const response = await fetch(`${url}/tasks/${task}/predict`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ inputs: text, raw_scores: true }),
  })
  if (!response.ok) throw new Error(`a prediction of ${task} returned ${response.status}: ${await response.text()}`)
  const { predictions } = (await response.json()) as { predictions: { scores: { score: number }[] }[] }
  return predictions[0]?.scores.map(({ score }) => score) ?? []
}
