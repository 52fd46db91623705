// Wrong command lines, and the help.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { flagOf, settingNames, settings } from '../../src/settings.js'
import { root, temporaryDirectory } from '../material.js'
import { cli } from '../server-process.js'

interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const propetl = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  new Promise<Outcome>((resolve) =>
    execFile(process.execPath, [cli, ...args], { env: { ...process.env, ...env } }, (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    ),
  )

test('--version prints the version of the package', async () => {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  assert.deepEqual(await propetl(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
})

test('--help groups the commands, and says what each prints, with an example', async () => {
  const { stdout } = await propetl(['--help'])
  for (const group of ['Serve:\n  serve', 'Train, evaluate and predict:\n  check', 'Administer:\n  inspect'])
    assert.ok(stdout.includes(`\n${group}`), group)
  const commands = ['serve', 'check', 'learn', 'evaluate', 'predict', 'train', 'inspect', 'backup']
  commands.push('tenants set', 'tenants create-key')
  for (const command of commands) {
    const { code, stdout } = await propetl([...command.split(' '), '--help'])
    assert.equal(code, 0)
    assert.match(stdout, /\nPrints .*[\s\S]*\nExamples?:\n {2}\$ propetl /, command)
    assert.ok(
      stdout.split('\n').every((line) => line.length <= 80 || line.startsWith('  $ ')),
      command,
    )
  }
})

test('serve --help lists every setting under the heading of its group', async () => {
  const { stdout } = await propetl(['serve', '--help'])
  const sections = new Map(stdout.split(/\n\n/).map((section) => [section.split('\n')[0], section]))
  for (const name of settingNames) {
    if (settings[name].kind.kind === 'secret') continue
    assert.match(
      sections.get(`${settings[name].group}:`) ?? '',
      new RegExp(`^  (--model, )?${flagOf(name)} `, 'm'),
      name,
    )
  }
})

test('a reader of the help may close the pipe', async () => {
  const script = '{ "$0" "$1" serve --help; echo "exit $?" >&2; } | head -1'
  const { stdout, stderr } = await promisify(execFile)('sh', ['-c', script, process.execPath, cli])
  assert.deepEqual([stdout, stderr], ['Usage: propetl serve [options]\n', 'exit 0\n'])
})

test('a wrong command line exits with code 2 and says what is wrong', async () => {
  const wrong: readonly (readonly [args: readonly string[], message: RegExp])[] = [
    [[], /Usage: propetl/],
    [['server'], /unknown command 'server'[\s\S]*Did you mean serve/],
    [['serve', '--prot', '1'], /unknown option '--prot'[\s\S]*Did you mean --port/],
    [['learn', 'rows.csv'], /required option '--out <file>'/],
    [['learn', '--out', 'a.safetensors'], /missing required argument 'data'/],
    [['tenants', 'make', 'acme'], /unknown command 'make'/],
    [['tenants', 'set', 'acme', '--tasks', 'many'], /'--tasks <number>' argument 'many' is invalid/],
  ]
  for (const [args, message] of wrong) {
    const { code, stderr } = await propetl(args)
    assert.equal(code, 2, args.join(' '))
    assert.match(stderr, message)
  }
})

test('commands that only read create no store in a misspelt directory', async () => {
  const directory = join(await temporaryDirectory(), 'typo')
  for (const args of [['list'], ['keys', 'acme'], ['remove', 'acme'], ['revoke-key', 'acme', 'k']]) {
    const { code, stderr } = await propetl(['tenants', ...args, '--data-dir', directory])
    assert.equal(code, 2)
    assert.match(stderr, /there is no store in ".*typo"; expected the data directory of a server/)
    assert.ok(!existsSync(directory))
  }
  const made = await propetl(['tenants', 'set', 'acme', '--data-dir', directory])
  assert.equal(made.code, 0)
  assert.match(made.stderr, /created a new store in ".*typo"/)
  assert.equal((await propetl(['tenants', 'list', '--data-dir', directory])).code, 0)
})

test('a misspelt environment variable is named in a warning', async () => {
  const { stderr } = await propetl(['serve', '--port', 'none'], { PROPETL_PROT: '9000' })
  assert.doesNotMatch(stderr, /PROPETL_PROT/, 'the first error is enough')
  const { stderr: warning } = await propetl(['serve', '--model-dir', '/nowhere', '--port', '0'], {
    PROPETL_PROT: '9000',
  })
  assert.match(warning, /PROPETL_PROT: no such setting; it has no effect/)
})
