// Fails if npm knows a vulnerability of any severity in a dependency or a development dependency. A registry that is
// unreachable, or a mirror without audits, causes a warning and no failure.

import { spawnSync } from 'node:child_process'

const { stdout } = spawnSync('npm', ['audit', '--json'], { encoding: 'utf8' })
const { metadata, vulnerabilities, error, message } = JSON.parse(stdout)
if (metadata?.vulnerabilities) {
  for (const { name, severity, range, via } of Object.values(vulnerabilities))
    console.error(`${name} ${range}: ${severity}: ${via.map((each) => each.url ?? `by ${each}`).join(', ')}`)
  console.log(`npm audit: ${metadata.vulnerabilities.total} vulnerable of ${metadata.dependencies.total} packages`)
  process.exitCode = metadata.vulnerabilities.total > 0 ? 1 : 0
} else if (error?.code && error.code !== 'ENOAUDIT') {
  console.error(`npm audit failed: ${error.code} ${error.summary}`)
  process.exitCode = 1
} else {
  console.warn(`NOT AUDITED, the registry does not respond to audits: ${message ?? error?.summary}`)
}
