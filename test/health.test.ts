import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { operatorKey, startRunning } from './http/running.js'
import { root } from './material.js'

const pem = (name: string) => join(root, 'test/fixtures/tls', `${name}.pem`)
const tls = { tlsCert: pem('first.cert'), tlsKey: pem('first.key') }
const image = readFileSync(join(root, 'Dockerfile'), 'utf8')
const [, check = '[]'] = /^HEALTHCHECK .*\\\n +CMD (.+)$/m.exec(image) ?? []

/** Runs the HEALTHCHECK command of the Dockerfile. */
function run(environment: Record<string, string>, ...args: string[]): Promise<{ code: unknown; output: string }> {
  const [program = '', ...given] = JSON.parse(check) as string[]
  const env = { PATH: process.env.PATH, ...environment }
  return new Promise((resolve) => {
    execFile(program, [...given, ...args], { cwd: root, env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : error.code, output: stdout + stderr }),
    )
  })
}

describe('the health check of the image', () => {
  test('is the same for each image, and finds a server of this machine from the environment variables', async () => {
    assert.equal(image.split(`CMD ${check}`).length - 1, image.match(/^HEALTHCHECK/gm)?.length)
    // Not every machine has IPv6.
    const any = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'))
      ? '::'
      : '0.0.0.0'
    const servers = [
      [{}, {}],
      [{ operatorKey }, { PROPETL_HOST: '0.0.0.0' }],
      [
        { operatorKey, ...tls },
        { PROPETL_HOST: any, PROPETL_TLS_CERT: tls.tlsCert, PROPETL_TLS_KEY: tls.tlsKey },
      ],
    ] as const
    for (const [settings, environment] of servers) {
      const host = (environment as { PROPETL_HOST?: string }).PROPETL_HOST
      const { server } = await startRunning({ ...settings, ...(host !== undefined && { host }) })
      const { code, output } = await run({ ...environment, PROPETL_PORT: new URL(server.address).port })
      assert.deepEqual([code, output.includes('"status":"ready"')], [0, true], output)
      assert.equal((await run({}, server.address.replace(/\/\/.*:/, '//localhost:'))).code, 0)
    }
  })

  test('fails with the reason if a server is not ready, does not respond, or does not exist', async () => {
    const startServer = async (status: number | undefined, secure: boolean) => {
      const handler: RequestListener = (_request, response) => {
        if (status !== undefined) response.writeHead(status).end('body text')
      }
      const pair = { cert: readFileSync(tls.tlsCert), key: readFileSync(tls.tlsKey) }
      const server = secure ? createSecureServer(pair, handler) : createServer(handler)
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      after(() => {
        server.closeAllConnections()
        server.close()
      })
      return String((server.address() as AddressInfo).port)
    }
    const secured = { PROPETL_TLS_CERT: tls.tlsCert, PROPETL_TLS_KEY: tls.tlsKey }
    const cases: [environment: Record<string, string>, output: RegExp][] = [
      [{ PROPETL_PORT: await startServer(503, false) }, /^http:.* responded 503: body text\n$/],
      [{ PROPETL_PORT: await startServer(503, true), ...secured }, /^https:.* responded 503: body text\n$/],
      [{ PROPETL_PORT: await startServer(undefined, false) }, /did not respond: .*abort/],
      [{ PROPETL_PORT: await startServer(200, false), ...secured }, /did not respond: .*SSL/],
      [{ PROPETL_PORT: '1' }, /did not respond: .*ECONNREFUSED/],
      [
        { PROPETL_PORT: 'tcp://10.96.14.7:80' },
        /PROPETL_PORT is "tcp:.*\(service links\): set "enableServiceLinks: false"/,
      ],
      [{ PROPETL_PORT: 'x' }, /PROPETL_PORT is "x"; expected a whole number/],
    ]
    for (const [environment, expected] of cases) {
      const { code, output } = await run(environment)
      assert.equal(code, 1)
      assert.match(output, expected)
    }
  })
})
