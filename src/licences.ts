// Under which licences the packages are that come with the server, by the lock file; docs/licences.md is made of it.

export interface LockFile {
  readonly packages: Readonly<Record<string, LockedPackage>>
}

interface LockedPackage {
  readonly version?: string
  /** An SPDX expression. */
  readonly license?: string
  /** Only for development. */
  readonly dev?: boolean
  readonly devOptional?: boolean
  readonly optional?: boolean
  readonly os?: readonly string[]
  readonly cpu?: readonly string[]
}

/** All permissive: nothing of them reaches beyond the package itself. Another is looked at before it is added here. */
const allowed: readonly string[] = ['MIT', 'ISC', 'Apache-2.0', 'BSD-3-Clause', 'BlueOak-1.0.0']

interface Row {
  readonly name: string
  readonly version: string
  readonly licence: string
  /** Where it is installed; empty for everywhere. */
  readonly only: string
}

const folder = 'node_modules/'

/** What is installed without development's packages, in the order of names and versions, each version once. */
function served({ packages }: LockFile): Row[] {
  const rows = Object.entries(packages)
    .filter(([path, { dev, devOptional }]) => path.includes(folder) && !dev && !devOptional)
    .map(([path, { version = '', license: licence = 'none', optional, os, cpu }]): Row => {
      const platform = [os, cpu].map((names) => names?.join(', ')).filter((names) => names !== undefined)
      const only = platform.length > 0 ? platform.join(' ') : optional ? 'optional' : ''
      return { name: path.slice(path.lastIndexOf(folder) + folder.length), version, licence, only }
    })
  const versions = new Map(rows.map((row) => [`${row.name} ${row.version}`, row]))
  return [...versions].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row)
}

/** Of alternatives one is enough. */
const isAllowed = (licence: string): boolean =>
  licence
    .replace(/^\((.*)\)$/, '$1')
    .split(' OR ')
    .some((each) => allowed.includes(each))

/** Packages under a licence that nobody has looked at, as `name version: licence`. */
export const notAllowed = (lock: LockFile): string[] =>
  served(lock)
    .filter(({ licence }) => !isAllowed(licence))
    .map(({ name, version, licence }) => `${name} ${version}: ${licence}`)

/** The table of docs/licences.md, in Markdown, and how many there are of each licence before it. */
export function licencesTable(lock: LockFile): string {
  const rows = served(lock)
  const counts = new Map<string, number>()
  for (const { licence } of rows) counts.set(licence, (counts.get(licence) ?? 0) + 1)
  const summary = [...counts].sort(([, a], [, b]) => b - a)
  return [
    `${rows.length} packages: ${summary.map(([licence, count]) => `${count} ${licence}`).join(', ')}.`,
    '',
    '| Package | Version | Licence | Only on |',
    '|---|---|---|---|',
    ...rows.map(({ name, version, licence, only }) => `| ${name} | ${version} | ${licence} | ${only} |`),
  ].join('\n')
}
