// The npm package: what is in it, how large it is, and that it works where its dependencies are.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { modelDir, root, temporaryDirectory } from './material.js'
import { failedStart, predict, ready, start } from './server-process.js'

const run = promisify(execFile)
const json = <T>(path: string) => JSON.parse(readFileSync(join(root, path), 'utf8')) as T
const { version, allowScripts } = json<{ version: string; allowScripts: Record<string, boolean> }>('package.json')

interface Packed {
  readonly filename: string
  readonly size: number
  readonly files: readonly { readonly path: string }[]
}

/** `npm pack` without its scripts, which would build dist again under the other tests. */
async function pack(...flags: string[]): Promise<Packed> {
  const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', ...flags], { cwd: root })
  const [packed] = JSON.parse(stdout) as Packed[]
  return packed ?? assert.fail('npm pack returned nothing')
}

/** A folder in which the package was unpacked, with the dependencies of this checkout. */
async function installed(): Promise<string> {
  const directory = await temporaryDirectory()
  const { filename } = await pack('--pack-destination', directory)
  await run('tar', ['xf', filename], { cwd: directory })
  await symlink(join(root, 'node_modules'), join(directory, 'package/node_modules'))
  return join(directory, 'package')
}

describe('the npm package', () => {
  test('has at most 2 MB', async () => {
    const { size } = await pack('--dry-run')
    assert.ok(size <= 2_000_000, `${size} bytes`)
  })

  test('contains the program, its tasks and its documentation, and nothing else', async () => {
    const { files } = await pack('--dry-run')
    const paths = files.map(({ path }) => path)
    const under = (folder: string) => paths.filter((path) => path.startsWith(`${folder}/`)).sort()
    const compiled = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && path !== 'generate.ts')
      .map((path) => `dist/${path.replace(/\.ts$/, '.js')}`)
    const [console, program] = [
      under('dist/console'),
      under('dist').filter((path) => !path.startsWith('dist/console/')),
    ]
    assert.deepEqual(program, compiled.sort())
    assert.ok(console.includes('dist/console/index.html'))
    assert.deepEqual(
      console.filter((path) => !/\.(html|js|css)(\.br|\.gz)?$/.test(path)),
      [],
    )
    assert.deepEqual(
      under('masks'),
      readdirSync(join(root, 'masks'))
        .map((name) => `masks/${name}`)
        .sort(),
    )
    assert.deepEqual(under('openapi'), ['openapi/openapi.json'])
    const pages = [...under('docs'), ...under('examples')]
    assert.deepEqual(
      pages.filter((path) => !/\.(md|svg|csv)$/.test(path)),
      [],
    )
    const known = new Set([...under('dist'), ...under('masks'), ...under('openapi'), ...pages])
    assert.deepEqual(paths.filter((path) => !known.has(path)).sort(), [
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'SECURITY.md',
      'package.json',
    ])
  })

  test('prints its version, and says what to do without the bundled model', async () => {
    const script = join(await installed(), 'dist/cli.js')
    assert.equal((await run(process.execPath, [script, '--version'])).stdout, `${version}\n`)
    const { code, output } = await failedStart(
      start([], ['--data-dir', await temporaryDirectory()], { script, stdio: ['ignore', 'pipe', 'pipe'] }),
    )
    assert.equal(code, 2)
    assert.match(output, /the bundled model is not in this installation.*Pass --model-dir with/)
  })

  test('serves its tasks and the console on a model directory that it is given', async () => {
    const script = join(await installed(), 'dist/cli.js')
    const flags = ['--data-dir', await temporaryDirectory(), '--model-dir', modelDir]
    const server = await ready(start([], flags, { script, stdio: ['ignore', 'pipe', 'pipe'] }))
    assert.equal((await predict(server.url, 'sst2')).status, 200)
    const page = await fetch(server.url, { headers: { accept: 'text/html' } })
    assert.match(await page.text(), /<div id="app">/)
    server.process.kill('SIGTERM')
    assert.deepEqual(await server.exit, [0, null])
  })
})

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
