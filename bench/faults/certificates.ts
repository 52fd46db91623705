// Certificates that are renewed while the server starts or runs.

import { X509Certificate } from 'node:crypto'
import { copyFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect } from 'node:tls'
import { root } from '../../test/material.js'
import { atMost, type Fault, type Finding, none, unless } from './fault.js'
import type { ServerUnderTest } from './server.js'
import type { Testbed } from './testbed.js'
import { timeUntil } from './waiting.js'

const fixtures = join(root, 'test/fixtures/tls')
const fingerprintOf = (name: string) =>
  new X509Certificate(readFileSync(join(fixtures, `${name}.cert.pem`))).fingerprint256

async function certificateFiles(testbed: Testbed) {
  const directory = await testbed.directory()
  const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
  const install = (name: string) => {
    copyFileSync(join(fixtures, `${name}.cert.pem`), cert)
    copyFileSync(join(fixtures, `${name}.key.pem`), key)
  }
  install('first')
  return { flags: ['--tls-cert', cert, '--tls-key', key], install }
}

/** The fingerprint of the certificate that a server presents. */
function served({ url }: ServerUnderTest): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: Number(new URL(url).port), rejectUnauthorized: false })
    socket.once('secureConnect', () => {
      resolve(socket.getPeerCertificate().fingerprint256)
      socket.destroy()
    })
    socket.once('error', reject)
  })
}

/** The time until a server presents the second certificate. */
async function untilSecond(server: ServerUnderTest, most: number): Promise<Finding> {
  const ms = await timeUntil(async () => (await served(server)) === fingerprintOf('second'), 3 * most, 100)
  return atMost('time until the server presents the new certificate', 'ms', ms ?? 3 * most, most)
}

const renewedAtStart: Fault = {
  name: 'certificate-renewed-at-start',
  cause: 'the certificate is renewed while the server waits for its database at start',
  expected: 'the server presents the new certificate within 6 s after it is ready',
  needs: ['postgres'],
  async run(testbed) {
    const database = await testbed.database()
    const proxy = await testbed.proxy(database)
    proxy.refuse = true
    const { flags, install } = await certificateFiles(testbed)
    const env = { PROPETL_DATABASE_URL: database.urlThrough(proxy) }
    const server = testbed.launch({ dataDir: await testbed.directory(), flags, env })
    await timeUntil(() => /waiting/.test(server.output), 10_000)
    await delay(500)
    install('second')
    await delay(500)
    proxy.refuse = false
    return [await untilSecond(await server.ready(), 6_000)]
  },
}

const reloaded: Fault = {
  name: 'certificate-sighup',
  cause: 'the certificate is renewed, and the server receives SIGHUP',
  expected: 'the server presents the new certificate within 1 s, and keeps serving',
  async run(testbed) {
    const { flags, install } = await certificateFiles(testbed)
    const server = await testbed.server({ flags })
    install('second')
    server.signal('SIGHUP')
    await delay(100)
    if (server.isEnded) return [none('servers that exited', [server.end])]
    const presented = await untilSecond(server, 1_000)
    return [presented, none('servers that exited', unless(!server.isEnded, server.end))]
  },
}

export const certificateFaults: readonly Fault[] = [renewedAtStart, reloaded]
