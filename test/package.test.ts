// What npm does with this package when it is installed.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { root } from './material.js'

const json = <T>(path: string) => JSON.parse(readFileSync(join(root, path), 'utf8')) as T
const { allowScripts } = json<{ allowScripts: Record<string, boolean> }>('package.json')

describe('an installation from the lock file', () => {
  test('runs no script of onnxruntime-node, which would download CUDA libraries', () => {
    // npm before 11 has no allowScripts. It runs a script where the lock file says that there is one.
    const { packages } = json<{ packages: Record<string, { hasInstallScript?: boolean }> }>('package-lock.json')
    assert.equal(allowScripts['onnxruntime-node'], false)
    assert.equal(
      packages['node_modules/onnxruntime-node']?.hasInstallScript,
      undefined,
      'remove "hasInstallScript" of node_modules/onnxruntime-node from package-lock.json',
    )
  })

  test('runs scripts of no package that package.json does not name', () => {
    const { packages } = json<{ packages: Record<string, { hasInstallScript?: boolean }> }>('package-lock.json')
    const named = Object.entries(packages).filter(([, { hasInstallScript }]) => hasInstallScript)
    for (const [path] of named) assert.ok(Object.hasOwn(allowScripts, path.replace('node_modules/', '')), path)
  })
})
