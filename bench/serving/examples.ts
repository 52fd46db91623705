// A task with very many examples: how fast a file of them is stored, how long a filtered page takes, how much memory the server
// needs, and how long other requests wait meanwhile.

import { setTimeout } from 'node:timers/promises'
import { type Benchmark, once, quantile } from '../support/figures.js'
import { withTemporaryDirectory } from '../support/material.js'
import { processMemory, startServerProcess } from '../support/process.js'

const pages = 20
/** One example in this many has the rare label. */
const rarity = 100_000
const probeMs = 20

interface Page {
  readonly total: number
  readonly examples: readonly object[]
  readonly next: string | null
}

/** @param rows examples */
export const examples =
  (rows: number): Benchmark =>
  (log) =>
    withTemporaryDirectory(async (directory) => {
      const server = await startServerProcess(directory)
      const before = processMemory(server.process.pid).all
      const csv = fileOf(rows)
      log(`examples: posting ${rows} rows, ${csv.byteLength} bytes`)
      const done = new AbortController()
      const probing = probe(`${server.url}/health/live`, done.signal)
      const start = performance.now()
      const response = await fetch(`${server.url}/tasks/many/examples`, {
        method: 'POST',
        headers: { 'content-type': 'text/csv' },
        body: csv,
      })
      const seconds = (performance.now() - start) / 1000
      if (!response.ok) throw new Error(`the post returned ${response.status}: ${await response.text()}`)
      done.abort()
      const waits = await probing
      const { peak } = processMemory(server.process.pid)
      const page = async (query: string): Promise<number[]> => {
        const times: number[] = []
        let found = 0
        for (let after = ''; times.length < pages; ) {
          const start = performance.now()
          const response = await fetch(`${server.url}/tasks/many/examples?limit=100${query}${after}`)
          const { examples, next } = (await response.json()) as Page
          times.push(performance.now() - start)
          found += examples.length
          if (next === null) break
          after = `&after=${next}`
        }
        log(`examples: ${found} found on ${times.length} pages with "${query}"`)
        return times
      }
      const plain = await page('')
      const rare = await page('&label=rare')
      const search = await page(`&search=${encodeURIComponent(textOf(rarity - 1).slice(0, 12))}`)
      const after = processMemory(server.process.pid)
      await server.stop()
      const times = (name: string, values: readonly number[]) => ({
        name: `${name}, slowest`,
        unit: 'ms',
        value: Math.max(...values),
        spread: [Math.min(...values), Math.max(...values)] as const,
        repeats: values.length,
        target: { atMost: 1_000 },
      })
      const of = `${rows.toLocaleString('en-US')} examples of one task`
      return [
        { name: `${of}: stored from one file`, unit: 'rows/s', ...once(rows / seconds), notes: { seconds } },
        times(`${of}: a page`, plain),
        times(`${of}: a page with a rare label`, rare),
        times(`${of}: a page with a search`, search),
        {
          name: `${of}: a request meanwhile, p99`,
          unit: 'ms',
          value: quantile(waits, 0.99),
          spread: [Math.min(...waits), Math.max(...waits)],
          repeats: waits.length,
        },
        {
          name: `${of}: growth of the server's memory without file pages`,
          unit: 'MiB',
          ...once((after.anonymous - Math.min(before, after.anonymous)) / 2 ** 20),
          notes: { 'peak of all pages, MiB': peak / 2 ** 20, 'before, MiB': before / 2 ** 20 },
        },
      ]
    })

const words = ['parcel', 'arrived', 'broken', 'late', 'refund', 'please', 'where', 'order', 'thanks', 'address']
const textOf = (row: number): string =>
  `${row.toString(36)} ${[1, 10, 100, 1_000, 10_000].map((by) => words[Math.floor(row / by) % 10]).join(' ')} number ${row}`

function fileOf(rows: number): Buffer<ArrayBuffer> {
  const parts = ['text,label']
  for (let row = 0; row < rows; row++) parts.push(`${textOf(row)},${row % rarity === 0 ? 'rare' : words[row % 4]}`)
  return Buffer.from(parts.join('\n'))
}

/** How long requests take until the signal is aborted, in milliseconds. */
async function probe(url: string, signal: AbortSignal): Promise<number[]> {
  const times: number[] = []
  while (!signal.aborted) {
    const start = performance.now()
    await (await fetch(url)).text()
    times.push(performance.now() - start)
    await setTimeout(probeMs)
  }
  return times
}
