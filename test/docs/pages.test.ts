// What the Markdown pages refer to exists: files, anchors, settings and flags.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { Metrics } from '../../src/http/metrics.js'
import { Lifecycle } from '../../src/http/services.js'
import { environmentVariableOf, settingNames } from '../../src/settings.js'
import { root } from '../material.js'

/** Folders without pages of ours. */
const elsewhere = new Set(['node_modules', 'dist', 'build', 'data'])
/** The model's own card. */
const foreign = /^models\/.+\/README\.md$/
const pages = readdirSync(root, { withFileTypes: true })
  .filter(({ name }) => !name.startsWith('.') && !elsewhere.has(name))
  .flatMap((entry) =>
    entry.isDirectory()
      ? readdirSync(join(root, entry.name), { recursive: true }).map((path) => join(entry.name, String(path)))
      : [entry.name],
  )
  .filter((path) => path.endsWith('.md') && !foreign.test(path))
const textOf = (path: string) => readFileSync(join(root, path), 'utf8')

/** A page without fenced and indented blocks, and without code spans. */
const prose = (text: string) =>
  text
    .replaceAll(/^```[\s\S]*?^```/gm, '')
    .replaceAll(/^ {4}.*$/gm, '')
    .replaceAll(/`[^`\n]*`/g, 'code')

/** Anchors of a page as GitHub makes them: lower case, without punctuation, a number added to repeated ones. */
function anchorsOf(text: string): Set<string> {
  const seen = new Map<string, number>()
  const anchors = [...text.replaceAll(/^```[\s\S]*?^```/gm, '').matchAll(/^#{1,6} (.+)$/gm)].map(([, heading = '']) => {
    const anchor = heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_\- ]/gu, '')
      .replaceAll(' ', '-')
    const times = seen.get(anchor) ?? 0
    seen.set(anchor, times + 1)
    return times === 0 ? anchor : `${anchor}-${times}`
  })
  return new Set(anchors)
}

describe('Markdown pages', () => {
  for (const page of pages)
    test(`${page} links to files and anchors that exist`, () => {
      for (const [, target = ''] of prose(textOf(page)).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/.test(target)) continue
        const [path = '', anchor] = target.split('#')
        const file = path === '' ? page : join(dirname(page), path)
        assert.ok(existsSync(join(root, file)), `${target}: there is no ${file}`)
        if (anchor !== undefined)
          assert.ok(anchorsOf(textOf(file)).has(anchor), `${target}: no such heading in ${file}`)
      }
    })

  test('the README has at most 150 lines', () => {
    assert.ok(textOf('README.md').trimEnd().split('\n').length <= 150)
  })
})

describe('settings, flags and metrics', () => {
  const commands = [
    'serve',
    'learn',
    'evaluate',
    'predict',
    'train',
    'inspect',
    'backup',
    'tenants set',
    'tenants create-key',
  ]
  const help = commands.map((command) =>
    execFileSync(process.execPath, [join(root, 'dist/cli.js'), ...command.split(' '), '--help']).toString(),
  )
  const flags = new Set(help.flatMap((text) => text.match(/(?<![\w-])--[a-z][a-z-]*/g) ?? []))
  /** PROPETL_KEY is the key that `propetl evaluate` and `predict` send. */
  const variables = new Set<string>([...settingNames.map(environmentVariableOf), 'PROPETL_KEY'])
  const users = pages.filter((page) => /^(README\.md|SECURITY\.md|docs\/|examples\/)/.test(page))

  for (const page of users)
    test(`${page} names only variables that the program reads`, () => {
      const named = textOf(page).match(/\bPROPETL_[A-Z][A-Z_]*[A-Z]\b/g) ?? []
      for (const name of named) assert.ok(variables.has(name) || name.startsWith('PROPETL_TEST_'), name)
    })

  const { registry } = new Metrics(new Lifecycle(), 1)
  /** Tables of the database. */
  const tables = ['propetl_records', 'propetl_changes', 'propetl_schema']
  const known = [...tables, ...registry.getMetricsAsArray().map(({ name }) => name)]

  for (const page of users)
    test(`${page} names only metrics that the server exports`, () => {
      const named = textOf(page).match(/\bpropetl_[a-z_]+[a-z](?![a-z_*])/g) ?? []
      for (const name of named) assert.ok(known.includes(name), name)
    })

  for (const page of users)
    test(`${page} names only flags that the commands have`, () => {
      // A flag of propetl is a code span that begins with it, or stands in a line that calls propetl.
      const text = textOf(page)
      const spans = [...text.matchAll(/`(--[a-z][a-z-]*)[^`]*`/g)].map(([, flag = '']) => flag)
      const lines = text.match(/^.*\bpropetl (serve|learn|evaluate|predict|train|inspect|backup|tenants)\b.*$/gm) ?? []
      const used = lines.flatMap((line) => line.replace(/.*?\bpropetl /, '').match(/(?<![\w-])--[a-z][a-z-]*/g) ?? [])
      for (const flag of [...spans, ...used]) assert.ok(flags.has(flag), flag)
    })
})
