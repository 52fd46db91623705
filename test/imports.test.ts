// The import directions that docs/architecture.md describes: which part of src may import which. No modules of src, bench
// and test import each other in a circle.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'
import { root } from './material.js'

/** What the modules of a folder import. Folders stand after those that they import, so that there is no circle. */
const imports: Readonly<Record<string, string>> = {
  formats: '',
  graph: '',
  backbones: 'formats graph',
  petl: 'backbones formats graph',
  runtime: 'backbones graph petl',
  engine: 'petl runtime',
  costs: '',
  scheduler: 'costs engine runtime',
  store: 'costs',
  hub: 'backbones formats petl store',
  data: 'backbones formats petl',
  tenants: 'store',
  inference: 'costs engine petl scheduler tenants',
  tasks: 'backbones costs engine formats inference petl scheduler store tenants',
  examples: 'costs data formats petl store tasks tenants',
  learn: 'backbones data formats graph petl runtime',
  report: 'data formats learn',
  evaluation: 'backbones costs data engine inference learn petl report runtime scheduler tasks tenants',
  learner: 'data evaluation learn petl report',
  jobs: 'costs examples learn learner petl store tasks tenants',
  suggestions: 'backbones costs store tasks tenants',
  http: 'costs data engine examples formats inference jobs learn petl scheduler store suggestions tasks tenants',
  workers: 'backbones costs http inference petl runtime store suggestions tasks tenants',
  commands:
    'backbones data evaluation formats http hub learn petl report runtime server shutdown signals store tasks tenants',
}
/**
 * Modules of src itself that all others may import, and what they import other than each other. The settings name the
 * execution providers and the numerics.
 */
const shared = new Map([
  ['config', ''],
  ['owner', ''],
  ['package', ''],
  ['problem', ''],
  ['running-time', ''],
  ['settings', 'runtime'],
  ['steps', ''],
])

const src = join(root, 'src')
/** The folder of a module, or the module's name if it is in src itself. */
const partOf = (path: string) => path.split('/', 1)[0]?.replace(/\.[jt]s$/, '') ?? ''

/** The modules that each module of a folder imports, types included, as paths from that folder. */
function importsOf(folder: string): Map<string, readonly string[]> {
  const modules = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'))
  return new Map(
    modules.map((path) => {
      const found = readFileSync(join(folder, path), 'utf8').matchAll(/(?:from|import)[ (]'(\.[^']+)\.js'/g)
      return [path, Array.from(found, ([, target = '']) => `${normalize(join(dirname(path), target))}.ts`)]
    }),
  )
}

/** The parts of src that each part imports, without the shared modules. */
function found(): Map<string, Set<string>> {
  const parts = new Map<string, Set<string>>()
  for (const [path, targets] of importsOf(src)) {
    const part = partOf(path)
    const imported = parts.get(part) ?? new Set()
    parts.set(part, imported)
    for (const other of targets.map(partOf)) if (other !== part && !shared.has(other)) imported.add(other)
  }
  return parts
}

/** A path of imports that ends where it began; empty if there is none. */
function findCircle(imports: ReadonlyMap<string, readonly string[]>): readonly string[] {
  const done = new Set<string>()
  const visit = (module: string, path: readonly string[]): readonly string[] => {
    if (path.includes(module)) return [...path.slice(path.indexOf(module)), module]
    if (done.has(module)) return []
    for (const next of imports.get(module) ?? []) {
      const circle = visit(next, [...path, module])
      if (circle.length > 0) return circle
    }
    done.add(module)
    return []
  }
  for (const module of imports.keys()) {
    const circle = visit(module, [])
    if (circle.length > 0) return circle
  }
  return []
}

test('each folder of src imports the folders that it may import, and no others', () => {
  const parts = found()
  for (const [folder, allowed] of Object.entries(imports))
    assert.equal([...(parts.get(folder) ?? [])].sort().join(' '), allowed, `imports of src/${folder}`)
  for (const [name, allowed] of shared)
    assert.equal([...(parts.get(name) ?? [])].sort().join(' '), allowed, `imports of src/${name}.ts`)
  const folders = readdirSync(src, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  assert.deepEqual(folders.map(({ name }) => name).sort(), Object.keys(imports).sort())
})

test('no import of a folder points to a folder that imports it', () => {
  const folders = Object.keys(imports)
  for (const [place, folder] of folders.entries())
    for (const other of imports[folder]?.split(' ') ?? []) {
      assert.ok(folders.indexOf(other) < place, `src/${folder} imports src/${other}`)
    }
})

test('no modules import each other in a circle', () => {
  const all = ['src', 'bench', 'test'].flatMap((folder) =>
    Array.from(importsOf(join(root, folder)), ([path, targets]) => {
      return [join(folder, path), targets.map((target) => join(folder, target))] as const
    }),
  )
  assert.equal(findCircle(new Map(all)).join(' imports '), '')
})
