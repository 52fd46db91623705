import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type LockFile, licencesTable, notAllowed } from '../src/licences.js'
import { root } from './material.js'

const json = <T>(path: string) => JSON.parse(readFileSync(join(root, path), 'utf8')) as T
const lock = json<LockFile>('package-lock.json')

describe('licences', () => {
  test('of what is served are all ones that somebody has looked at', () => {
    assert.deepEqual(notAllowed(lock), [])
  })

  test('that nobody has looked at are found, of one alternative is enough, and what develops is left out', () => {
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

  test('are in docs/licences.md as the lock file has them (npm run generate writes it)', () => {
    const page = readFileSync(join(root, 'docs/licences.md'), 'utf8')
    assert.ok(page.includes(licencesTable(lock)))
    // What the packages that are installed say themselves.
    const { dependencies } = json<{ dependencies: Record<string, string> }>('package.json')
    for (const name of Object.keys(dependencies)) {
      const { version, license } = json<{ version: string; license: string }>(`node_modules/${name}/package.json`)
      assert.ok(page.includes(`\n| ${name} | ${version} | ${license} |`), `${name} ${version}, ${license}`)
    }
  })
})
