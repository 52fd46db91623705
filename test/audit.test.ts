// What CI makes of npm's audit, with a registry of our own.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { root, temporaryDirectory } from './material.js'

/** @returns the registry's address */
async function registry(answer: RequestListener): Promise<string> {
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A registry that knows of these advisories, by package. */
const knowing = (advisories: object) =>
  registry(({ url }, response) => {
    if (url?.endsWith('/advisories/bulk')) response.end(JSON.stringify(advisories))
    else response.writeHead(404).end('{}')
  })

async function audit(registry: string, files: readonly string[] = ['package.json', 'package-lock.json']) {
  const cwd = await temporaryDirectory()
  for (const file of files) await copyFile(join(root, file), join(cwd, file))
  await writeFile(join(cwd, '.npmrc'), `registry=${registry}\nfetch-retries=0\n`)
  const env = { PATH: process.env.PATH, HOME: cwd }
  return new Promise<{ code: unknown; said: string }>((resolve) => {
    execFile(process.execPath, [join(root, '.ci/audit.js')], { cwd, env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : error.code, said: stdout + stderr }),
    )
  })
}

describe("CI's audit", () => {
  for (const severity of ['info', 'critical'])
    test(`fails for a vulnerability of severity ${severity}, and names the package and the advisory`, async () => {
      const url = 'https://example.com/advisory'
      const advisory = { id: 1, url, title: '', severity, vulnerable_versions: '<999.0.0', cwe: [], cvss: { score: 0 } }
      const { code, said } = await audit(await knowing({ fastify: [advisory] }))
      assert.equal(code, 1)
      assert.match(said, new RegExp(`^fastify .*: ${severity}: ${url}$`, 'm'))
      assert.match(said, /^npm audit: [1-9]\d* vulnerable of \d{3} packages$/m)
    })

  test('passes where the registry knows of none', async () => {
    const { code, said } = await audit(await knowing({}))
    assert.equal(code, 0)
    assert.match(said, /^npm audit: 0 vulnerable of \d{3} packages$/m)
  })

  test('passes where the registry does not audit or is away, and says that nothing was audited', async () => {
    const refusing = await registry((_request, response) => void response.writeHead(405).end())
    for (const [address, reason] of [
      [refusing, /405 Method Not Allowed/],
      ['http://127.0.0.1:1', /ECONNREFUSED/],
    ] as const) {
      const { code, said } = await audit(address)
      assert.equal(code, 0)
      assert.match(said, /^NOT AUDITED, the registry does not answer audits: /)
      assert.match(said, reason)
    }
  })

  test('fails where there is nothing to audit', async () => {
    const { code, said } = await audit(await knowing({}), ['package.json'])
    assert.equal(code, 1)
    assert.match(said, /npm audit failed: ENOLOCK/)
  })
})
