// The load: so many clients, each sending its next request when the last was answered. Runs as a forked process.

import autocannon from 'autocannon'

export interface LoadRequest {
  readonly url: string
  readonly clients: number
  /** Sent in this order, over and over, until `amount` were sent. */
  readonly requests: readonly { readonly path: string; readonly body: string }[]
  readonly amount: number
}

export interface LoadResult {
  readonly requests: number
  readonly failed: number
  readonly firstFailure: string
  readonly seconds: number
  readonly p50Ms: number
  readonly p99Ms: number
}

process.on('message', (request: LoadRequest) => {
  void run(request).then((result) => process.send?.(result))
})

async function run({ url, clients, requests, amount }: LoadRequest): Promise<LoadResult> {
  let next = 0
  let firstFailure = ''
  const take = () => requests[next++ % requests.length]
  const start = performance.now()
  // autocannon itself ends on a whole second.
  let lastAnswer = start
  const result = await autocannon({
    url,
    connections: clients,
    amount,
    timeout: 60,
    requests: [
      {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        setupRequest: (request) => ({ ...request, ...take() }),
        onResponse: (status, body) => {
          lastAnswer = performance.now()
          if (status !== 200) firstFailure ||= `${status} ${body}`
        },
      },
    ],
  })
  return {
    requests: result.requests.total,
    failed: result.non2xx + result.errors,
    firstFailure,
    seconds: (lastAnswer - start) / 1000,
    p50Ms: result.latency.p50,
    p99Ms: result.latency.p99,
  }
}
