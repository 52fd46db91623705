// An open-loop load: requests are sent at a fixed rate, whether or not earlier ones got a response. Runs as a forked
// process.

import { Connection, type PostRequest, requestText } from './connection.js'

export interface OpenLoopRequest {
  readonly url: string
  /** Sent in this order, repeatedly. */
  readonly requests: readonly PostRequest[]
  readonly perSecond: number
  readonly seconds: number
  /** Each request states this timeout. A later response counts as late. */
  readonly timeoutMs: number
}

export interface OpenLoopResult {
  readonly sent: number
  /** Responses with status 200 within the timeout, which starts when the request was due. */
  readonly inTime: number
  readonly late: number
  /** Number of other responses by status. */
  readonly rejected: Readonly<Record<string, number>>
  readonly seconds: number
  /** Processor time of this process. */
  readonly cpuSeconds: number
}

const tickMs = 5
/** How long to wait for responses after the last request. */
const drainMs = 5_000

process.on('disconnect', () => process.exit())
process.on('message', (request: OpenLoopRequest) => {
  void run(request).then((result) => process.send?.(result))
})

async function run({ url, requests, perSecond, seconds, timeoutMs }: OpenLoopRequest): Promise<OpenLoopResult> {
  const { hostname, port } = new URL(url)
  const texts = requests.map((each) => requestText(hostname, each, { 'x-request-timeout-ms': `${timeoutMs}` }))
  const rejected: Record<string, number> = {}
  const idle: Connection[] = []
  const all: Connection[] = []
  let [sent, inTime, late, received] = [0, 0, 0, 0]
  const cpu = process.cpuUsage()
  const start = performance.now()

  const send = (dueAt: number) => {
    let connection = idle.pop()
    if (connection === undefined) {
      connection = new Connection(hostname, Number(port))
      all.push(connection)
    }
    const used = connection
    void used.send(texts[sent++ % texts.length] ?? '').then(({ status }) => {
      received++
      if (status !== '200') rejected[status] = (rejected[status] ?? 0) + 1
      else if (performance.now() - dueAt <= timeoutMs) inTime++
      else late++
      idle.push(used)
    })
  }
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const elapsedMs = performance.now() - start
      while (sent < Math.min(elapsedMs / 1000, seconds) * perSecond) send(start + (1000 * sent) / perSecond)
      const finished = elapsedMs > 1000 * seconds && (received === sent || elapsedMs > 1000 * seconds + drainMs)
      if (!finished) return
      clearInterval(timer)
      resolve()
    }, tickMs)
  })
  for (const connection of all) connection.close()
  const { user, system } = process.cpuUsage(cpu)
  return { sent, inTime, late, rejected, seconds, cpuSeconds: (user + system) / 1e6 }
}
