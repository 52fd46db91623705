// A program of its own, for the HEALTHCHECK of an image and for scripts: exits 0 if a server is ready, else 1, and says
// what the server says. It sends no key. It is no command of the command line, which takes seven times as long to load.
//
//   node dist/health.js [address]    by default that of this machine's server, by the environment variables of serve

import { once } from 'node:events'
import { get as getHttp, type IncomingMessage } from 'node:http'
import { get as getHttps } from 'node:https'
import { text } from 'node:stream/consumers'
import { type Config, loadConfig } from './config.js'
import { afterRunning } from './running-time.js'

/** Less than the Dockerfile gives the whole program, in milliseconds. */
const answerWithinMs = 2_000

try {
  const url = new URL('/health/ready', process.argv[2] ?? localAddress(loadConfig({}, process.env)))
  const { statusCode, body } = await ask(url)
  console.log(`${url} answers ${statusCode}: ${body}`)
  process.exitCode = statusCode === 200 ? 0 : 1
} catch (error) {
  console.error(`the server's health cannot be told: ${(error as Error).message}`)
  process.exitCode = 1
}

function localAddress({ host, port, tlsCert }: Config): string {
  const any: Partial<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' }
  const reached = any[host] ?? host
  return `${tlsCert === undefined ? 'http' : 'https'}://${reached.includes(':') ? `[${reached}]` : reached}:${port}`
}

async function ask(url: URL): Promise<{ statusCode: number | undefined; body: string }> {
  const timeout = new AbortController()
  const { signal } = timeout
  afterRunning(answerWithinMs, () => timeout.abort())
  // Whether clients would trust the certificate is not what is asked.
  const request =
    url.protocol === 'https:' ? getHttps(url, { signal, rejectUnauthorized: false }) : getHttp(url, { signal })
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return { statusCode: response.statusCode, body: await text(response) }
}
