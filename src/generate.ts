// Writes what is made from the source: openapi/openapi.json from the routes' schemas, the README's table of settings
// from config.ts, the table of bundled tasks from their files, and that of licences from the lock file.

import { readdir, readFile, writeFile } from 'node:fs/promises'
import { settingsTable } from './config.js'
import { boundsTable, limitsTable } from './costs/resources.js'
import { describeApi } from './http/openapi.js'
import { type LockFile, licencesTable } from './licences.js'
import { inPackage } from './package.js'
import { readTaskFile, type TaskFile } from './petl/task-file.js'

await writeFile(inPackage('openapi/openapi.json'), await describeApi())
await fill('README.md', 'settings', settingsTable())
await fill('SECURITY.md', 'bounds', boundsTable())
await fill('docs/limits.md', 'limits', limitsTable())
await fill('masks/README.md', 'tasks', await tasksTable())
const lock = JSON.parse(await readFile(inPackage('package-lock.json'), 'utf8')) as LockFile
await fill('docs/licences.md', 'licences', licencesTable(lock))

/** Puts text between the marks of a name in a Markdown file. */
async function fill(path: string, name: string, text: string): Promise<void> {
  const [start, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
  const page = await readFile(inPackage(path), 'utf8')
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
      const rowsOfMask = `${mask.layers} row${mask.layers === 1 ? '' : 's'}, ${combine}`
      const cells = [
        `\`${name.replace('.safetensors', '')}\``,
        description,
        answersOf(task),
        `${metric.replaceAll('_', ' ')} ${score}`,
      ]
      return `| ${[...cells, rowsOfMask, bytes.byteLength.toLocaleString('en-US')].join(' | ')} |`
    }),
  )
  const head = '| Task | What it tells | Answers | On dev | Mask | Bytes |\n|---|---|---|---|---|---:|'
  return [head, ...rows].join('\n')
}

function answersOf({ problemType, labels, range }: TaskFile): string {
  if (problemType === 'feature_extraction') return 'a vector'
  if (problemType === 'regression') return range ? `${range[0]} to ${range[1]}` : 'a number'
  return labels.length <= 6 ? labels.join(', ') : `${labels.length} labels`
}
