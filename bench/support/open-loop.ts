// The load of clients that do not wait for each other: so many requests a second, whatever becomes of them. Runs as a
// forked process.

import { Connection, type PostRequest, requestText } from './connection.js'

export interface OpenLoadRequest {
  readonly url: string
  /** Sent in this order, over and over. */
  readonly requests: readonly PostRequest[]
  readonly perSecond: number
  readonly seconds: number
  /** Within which an answer is of use; each request says so. */
  readonly timeoutMs: number
}

export interface OpenLoadResult {
  readonly sent: number
  /** Predictions that came in time, counted from when their request was due. */
  readonly inTime: number
  readonly late: number
  /** Answers that were no predictions, by status. */
  readonly refused: Readonly<Record<string, number>>
  readonly seconds: number
  /** Processor time of this process. */
  readonly cpuSeconds: number
}

const tickMs = 5
/** Answers that have not come so long after the last request never will. */
const patienceMs = 5_000

process.on('message', (request: OpenLoadRequest) => {
  void run(request).then((result) => process.send?.(result))
})

async function run({ url, requests, perSecond, seconds, timeoutMs }: OpenLoadRequest): Promise<OpenLoadResult> {
  const { hostname, port } = new URL(url)
  const texts = requests.map((each) => requestText(hostname, each, { 'x-request-timeout-ms': `${timeoutMs}` }))
  const refused: Record<string, number> = {}
  const idle: Connection[] = []
  const all: Connection[] = []
  let [sent, inTime, late, answered] = [0, 0, 0, 0]
  const cpu = process.cpuUsage()
  const start = performance.now()

  const ask = (dueAt: number) => {
    let connection = idle.pop()
    if (connection === undefined) {
      connection = new Connection(hostname, Number(port))
      all.push(connection)
    }
    const asked = connection
    void asked.ask(texts[sent++ % texts.length] ?? '').then(({ status }) => {
      answered++
      if (status !== '200') refused[status] = (refused[status] ?? 0) + 1
      else if (performance.now() - dueAt <= timeoutMs) inTime++
      else late++
      idle.push(asked)
    })
  }
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const elapsedMs = performance.now() - start
      while (sent < Math.min(elapsedMs / 1000, seconds) * perSecond) ask(start + (1000 * sent) / perSecond)
      const over = elapsedMs > 1000 * seconds && (answered === sent || elapsedMs > 1000 * seconds + patienceMs)
      if (!over) return
      clearInterval(timer)
      resolve()
    }, tickMs)
  })
  for (const connection of all) connection.close()
  const { user, system } = process.cpuUsage(cpu)
  return { sent, inTime, late, refused, seconds, cpuSeconds: (user + system) / 1e6 }
}
