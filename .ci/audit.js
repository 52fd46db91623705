// Fails for a known vulnerability of any severity, in what is served or in what it is developed with. A registry that
// cannot be asked, for it is away or is a mirror that does not audit, is told of and is no failure.

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
  console.warn(`NOT AUDITED, the registry does not answer audits: ${message ?? error?.summary}`)
}
