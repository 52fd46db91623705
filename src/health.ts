// A program for the HEALTHCHECK of a container image and for scripts. It prints the response of /health/ready, and exits 0 if
// the server is ready and 1 otherwise. It sends no API key. It is not a command of the command line, because that takes seven
// times as long to load.
//
//   node dist/health.js [address]    default: the server that the PROPETL_* variables of this environment describe

import { once } from 'node:events'
import { get as getHttp, type IncomingMessage } from 'node:http'
import { get as getHttps } from 'node:https'
import { text } from 'node:stream/consumers'
import { type Config, loadConfig } from './config.js'
import { afterRunning } from './running-time.js'

/** Response timeout, in milliseconds. It is shorter than the timeout of the Dockerfile's HEALTHCHECK. */
const timeoutMs = 2_000

try {
  const url = new URL('/health/ready', process.argv[2] ?? localAddress(loadConfig({}, process.env)))
  const { statusCode, body } = await ask(url)
  console.log(`${url} responded ${statusCode}: ${body}`)
  process.exitCode = statusCode === 200 ? 0 : 1
} catch (error) {
  console.error(`the server did not respond: ${(error as Error).message}`)
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
  afterRunning(timeoutMs, () => timeout.abort())
  // This checks whether the server is ready, not whether clients trust its certificate.
  const request =
    url.protocol === 'https:' ? getHttps(url, { signal, rejectUnauthorized: false }) : getHttp(url, { signal })
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return { statusCode: response.statusCode, body: await text(response) }
}
