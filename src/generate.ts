// Writes the files that are derived from the source: openapi/openapi.json, and the tables in SECURITY.md, docs/settings.md,
// docs/limits.md, docs/licences.md and masks/README.md, and the types of the API for the console.

import { readdir, readFile, writeFile } from 'node:fs/promises'
import openapiTypes from 'openapi-typescript'
import { boundsTable, limitsTable } from './costs/resources.js'
import { describeApi } from './http/openapi.js'
import { type LockFile, licencesTable } from './licences.js'
import { inPackage } from './package.js'
import { readTaskFile, type TaskFile } from './petl/task-file.js'
import { settingsTables } from './settings-tables.js'

const api = await describeApi()
await writeFile(inPackage('openapi/openapi.json'), api)
await writeFile(inPackage('console/src/api/openapi.ts'), await openapiTypes(JSON.parse(api), { immutableTypes: true }))
await fill('docs/settings.md', 'settings', settingsTables())
await fill('SECURITY.md', 'bounds', boundsTable())
await fill('docs/limits.md', 'limits', limitsTable())
await fill('masks/README.md', 'tasks', await tasksTable())
const lock = JSON.parse(await readFile(inPackage('package-lock.json'), 'utf8')) as LockFile
await fill('docs/licences.md', 'licences', licencesTable(lock))

/** Replaces what is between two marks in a Markdown file. */
async function fill(path: string, name: string, text: string): Promise<void> {
  const [start, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
  const page = await readFile(inPackage(path), 'utf8')
  if (!page.includes(start) || !page.includes(end)) throw new Error(`${path} has no marks ${start} and ${end}`)
  const filled = page.replace(new RegExp(`${start}[\\s\\S]*${end}`), () => `${start}\n${text}\n${end}`)
  await writeFile(inPackage(path), filled)
}

async function tasksTable(): Promise<string> {
  const names = (await readdir(inPackage('masks'))).filter((name) => name.endsWith('.safetensors')).sort()
  const rows = await Promise.all(
    names.map(async (name) => {
      const bytes = await readFile(inPackage(`masks/${name}`))
      const task = readTaskFile(bytes)
      const { description = '', metrics, mask, combine } = task
      const [metric = '', score] = Object.entries((metrics?.dev ?? {}) as Record<string, number>)[0] ?? []
      const masks = mask ? `${mask.layers === 1 ? 'one for all layers' : 'one per layer'}, ${combine}` : 'none'
      const cells = [
        `\`${name.replace('.safetensors', '')}\``,
        description,
        outputsOf(task),
        `${metric.replaceAll('_', ' ')} ${score}`,
      ]
      return `| ${[...cells, masks, bytes.byteLength.toLocaleString('en-US')].join(' | ')} |`
    }),
  )
  const head =
    '| Task | What it predicts | Output | Dev score | Mask, combination | Bytes |\n|---|---|---|---|---|---:|'
  return [head, ...rows].join('\n')
}

function outputsOf({ problemType, labels, range }: TaskFile): string {
  if (problemType === 'feature_extraction') return 'a vector'
  if (problemType === 'regression') return range ? `${range[0]} to ${range[1]}` : 'a number'
  return labels.length <= 6 ? labels.join(', ') : `${labels.length} labels`
}
