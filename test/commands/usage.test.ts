// Command lines that are wrong, and what newcomers ask first.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { root, temporaryDirectory } from '../material.js'
import { cli } from '../server-process.js'

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const propetl = (words: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  new Promise<Ended>((resolve) =>
    execFile(process.execPath, [cli, ...words], { env: { ...process.env, ...env } }, (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    ),
  )

test('--version prints that of the package', async () => {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  assert.deepEqual(await propetl(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
})

test('a command line that is wrong ends with 2 and says what is wrong', async () => {
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /Usage: propetl/],
    [['server'], /unknown command 'server'[\s\S]*Did you mean serve/],
    [['serve', '--prot', '1'], /unknown option '--prot'[\s\S]*Did you mean --port/],
    [['learn', 'rows.csv'], /required option '--out <file>'/],
    [['learn', '--out', 'a.safetensors'], /missing required argument 'data'/],
    [['tenants', 'make', 'acme'], /unknown command 'make'/],
    [['tenants', 'set', 'acme', '--tasks', 'many'], /'--tasks <number>' argument 'many' is invalid/],
  ]
  for (const [words, message] of wrong) {
    const { code, stderr } = await propetl(words)
    assert.equal(code, 2, words.join(' '))
    assert.match(stderr, message)
  }
})

test('commands that only look make no store in a directory that is misspelt', async () => {
  const directory = join(await temporaryDirectory(), 'typo')
  for (const words of [['list'], ['keys', 'acme'], ['remove', 'acme'], ['revoke-key', 'acme', 'k']]) {
    const { code, stderr } = await propetl(['tenants', ...words, '--data-dir', directory])
    assert.equal(code, 1)
    assert.match(stderr, /there is no store in ".*typo"; expected the data directory of a server/)
    assert.ok(!existsSync(directory))
  }
  const made = await propetl(['tenants', 'set', 'acme', '--data-dir', directory])
  assert.equal(made.code, 0)
  assert.match(made.stderr, /made a new store in ".*typo"/)
  assert.equal((await propetl(['tenants', 'list', '--data-dir', directory])).code, 0)
})

test('a misspelt variable of the environment is named', async () => {
  const { stderr } = await propetl(['serve', '--port', 'none'], { PROPETL_PROT: '9000' })
  assert.doesNotMatch(stderr, /PROPETL_PROT/, 'the first fault is enough')
  const { stderr: said } = await propetl(['serve', '--model-dir', '/nowhere', '--port', '0'], { PROPETL_PROT: '9000' })
  assert.match(said, /PROPETL_PROT: no such setting; it has no effect/)
})
