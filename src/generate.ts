// Writes what is made from the source: openapi/openapi.json from the routes' schemas, and the README's table of
// settings from config.ts.

import { readFile, writeFile } from 'node:fs/promises'
import { settingsTable } from './config.js'
import { describeApi } from './http/openapi.js'

const inProject = (path: string) => new URL(`../../${path}`, import.meta.url)

await writeFile(inProject('openapi/openapi.json'), await describeApi())
const readme = await readFile(inProject('README.md'), 'utf8')
const settings = `<!-- settings -->\n${settingsTable()}\n<!-- /settings -->`
await writeFile(
  inProject('README.md'),
  readme.replace(/<!-- settings -->[\s\S]*<!-- \/settings -->/, () => settings),
)
