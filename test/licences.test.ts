import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type LockFile, licencesTable, notAllowed } from '../src/licences.js'
import { root } from './material.js'

const json = <T>(path: string) => JSON.parse(readFileSync(join(root, path), 'utf8')) as T
const lock = json<LockFile>('package-lock.json')

describe('licences', () => {
  test('of all packages of a production install are reviewed', () => {
    assert.deepEqual(notAllowed(lock), [])
  })

  test('without review are reported, except of development packages and of alternatives with a reviewed one', () => {
    const packages = {
      '': { license: 'Apache-2.0' },
      'node_modules/a': { version: '1.0.0', license: 'GPL-3.0' },
      'node_modules/a/node_modules/@b/c': { version: '2.0.0' },
      'node_modules/d': { version: '3.0.0', license: '(GPL-2.0 OR MIT)' },
      'node_modules/e': { version: '4.0.0', license: 'MIT AND GPL-2.0' },
      'node_modules/f': { version: '5.0.0', license: 'GPL-3.0', dev: true },
      'node_modules/g': { version: '6.0.0', license: 'GPL-3.0', optional: true },
    }
    assert.deepEqual(notAllowed({ packages }), [
      '@b/c 2.0.0: none',
      'a 1.0.0: GPL-3.0',
      'e 4.0.0: MIT AND GPL-2.0',
      'g 6.0.0: GPL-3.0',
    ])
  })

  test('in docs/licences.md agree with the lock file and the installed packages', () => {
    const page = readFileSync(join(root, 'docs/licences.md'), 'utf8')
    assert.ok(page.includes(licencesTable(lock)))
    // The licences that the installed packages name themselves.
    const { dependencies } = json<{ dependencies: Record<string, string> }>('package.json')
    for (const name of Object.keys(dependencies)) {
      const { version, license } = json<{ version: string; license: string }>(`node_modules/${name}/package.json`)
      assert.ok(page.includes(`\n| ${name} | ${version} | ${license} |`), `${name} ${version}, ${license}`)
    }
  })
})
