// A certificate that is renewed at an awkward moment.

import { X509Certificate } from 'node:crypto'
import { copyFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect } from 'node:tls'
import { root } from '../../test/material.js'
import { atMost, type Fault, type Finding, none, unless } from './fault.js'
import type { ServerUnderTest } from './server.js'
import type { Stage } from './stage.js'
import { timeUntil } from './waiting.js'

const fixtures = join(root, 'test/fixtures/tls')
const fingerprintOf = (name: string) =>
  new X509Certificate(readFileSync(join(fixtures, `${name}.cert.pem`))).fingerprint256

async function files(stage: Stage) {
  const directory = await stage.directory()
  const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
  const install = (name: string) => {
    copyFileSync(join(fixtures, `${name}.cert.pem`), cert)
    copyFileSync(join(fixtures, `${name}.key.pem`), key)
  }
  install('first')
  return { flags: ['--tls-cert', cert, '--tls-key', key], install }
}

/** The fingerprint of what a server shows. */
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

/** Until a server shows the second certificate. */
async function untilSecond(server: ServerUnderTest, most: number): Promise<Finding> {
  const ms = await timeUntil(async () => (await served(server)) === fingerprintOf('second'), 3 * most, 100)
  return atMost('until the new certificate is shown', 'ms', ms ?? 3 * most, most)
}

const renewedAtStart: Fault = {
  name: 'certificate-renewed-at-start',
  does: 'the certificate is renewed while the server waits for its database at start',
  must: 'the new one is shown within 6 s of being ready',
  needs: ['postgres'],
  async run(stage) {
    const database = await stage.database()
    const proxy = await stage.proxy(database)
    proxy.refuse = true
    const { flags, install } = await files(stage)
    const env = { PROPETL_DATABASE_URL: database.urlThrough(proxy) }
    const server = stage.launch({ dataDir: await stage.directory(), flags, env })
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
  does: 'the certificate is renewed, and SIGHUP is sent',
  must: 'the new one is shown within a second, and the server goes on',
  async run(stage) {
    const { flags, install } = await files(stage)
    const server = await stage.server({ flags })
    install('second')
    server.signal('SIGHUP')
    await delay(100)
    if (server.isEnded) return [none('servers that ended', [server.end])]
    const shown = await untilSecond(server, 1_000)
    return [shown, none('servers that ended', unless(!server.isEnded, server.end))]
  },
}

export const certificateFaults: readonly Fault[] = [renewedAtStart, reloaded]
