// CI's use of npm audit, with a registry of our own.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { root, temporaryDirectory } from './material.js'

/** Starts a registry. @returns its URL */
async function startRegistry(handler: RequestListener): Promise<string> {
  const server = createServer(handler)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Starts a registry with these advisories, by package. */
const registryWith = (advisories: object) =>
  startRegistry(({ url }, response) => {
    if (url?.endsWith('/advisories/bulk')) response.end(JSON.stringify(advisories))
    else response.writeHead(404).end('{}')
  })

async function audit(registry: string, files: readonly string[] = ['package.json', 'package-lock.json']) {
  const cwd = await temporaryDirectory()
  for (const file of files) await copyFile(join(root, file), join(cwd, file))
  await writeFile(join(cwd, '.npmrc'), `registry=${registry}\nfetch-retries=0\n`)
  const env = { PATH: process.env.PATH, HOME: cwd }
  return new Promise<{ code: unknown; output: string }>((resolve) => {
    execFile(process.execPath, [join(root, '.ci/audit.js')], { cwd, env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : error.code, output: stdout + stderr }),
    )
  })
}

describe("CI's audit", () => {
  for (const severity of ['info', 'critical'])
    test(`fails for a vulnerability of severity ${severity}, and names the package and the advisory`, async () => {
      const url = 'https://example.com/advisory'
      const advisory = { id: 1, url, title: '', severity, vulnerable_versions: '<999.0.0', cwe: [], cvss: { score: 0 } }
      const { code, output } = await audit(await registryWith({ fastify: [advisory] }))
      assert.equal(code, 1)
      assert.match(output, new RegExp(`^fastify .*: ${severity}: ${url}$`, 'm'))
      assert.match(output, /^npm audit: [1-9]\d* vulnerable of \d{3} packages$/m)
    })

  test('passes if the registry has no advisories', async () => {
    const { code, output } = await audit(await registryWith({}))
    assert.equal(code, 0)
    assert.match(output, /^npm audit: 0 vulnerable of \d{3} packages$/m)
  })

  test('passes if the registry has no audit or is unreachable, and says that nothing was audited', async () => {
    const rejecting = await startRegistry((_request, response) => void response.writeHead(405).end())
    for (const [address, reason] of [
      [rejecting, /405 Method Not Allowed/],
      ['http://127.0.0.1:1', /ECONNREFUSED/],
    ] as const) {
      const { code, output } = await audit(address)
      assert.equal(code, 0)
      assert.match(output, /^NOT AUDITED, the registry does not respond to audits: /)
      assert.match(output, reason)
    }
  })

  test('fails if there is nothing to audit', async () => {
    const { code, output } = await audit(await registryWith({}), ['package.json'])
    assert.equal(code, 1)
    assert.match(output, /npm audit failed: ENOLOCK/)
  })
})
