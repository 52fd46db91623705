// `npm run bench:page`: writes docs/benchmarks.md from the reports in docs/benchmarks.

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { benchmarksPage } from './page.js'
import { readReports } from './report.js'

const docs = new URL('../../docs/', import.meta.url)

writeFileSync(new URL('benchmarks.md', docs), benchmarksPage(readReports(fileURLToPath(new URL('benchmarks/', docs)))))
