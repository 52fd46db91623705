// The licences of the packages that are installed with the server or built into its console, from the lock file.
// docs/licences.md is generated from it.

export interface LockFile {
  readonly packages: Readonly<Record<string, LockedPackage>>
}

interface LockedPackage {
  readonly version?: string
  /** An SPDX expression. */
  readonly license?: string
  /** Only needed for development. */
  readonly dev?: boolean
  readonly devOptional?: boolean
  /** The console, which is a part of this project. */
  readonly link?: boolean
  readonly optional?: boolean
  readonly os?: readonly string[]
  readonly cpu?: readonly string[]
}

/** Reviewed licences. All are permissive: they put no condition on other code. Review a licence before you add it. */
const allowed: readonly string[] = ['MIT', 'ISC', 'Apache-2.0', 'BSD-3-Clause', 'BlueOak-1.0.0']

interface InstalledPackage {
  readonly name: string
  readonly version: string
  readonly licence: string
  /** The platforms on which it is installed. Empty for all. */
  readonly only: string
}

const folder = 'node_modules/'

/** The packages of a production install, sorted by name and version, each version once. */
function productionPackages({ packages }: LockFile): InstalledPackage[] {
  const installed = Object.entries(packages)
    .filter(([path, { dev, devOptional, link }]) => path.includes(folder) && !dev && !devOptional && !link)
    .map(([path, { version = '', license: licence = 'none', optional, os, cpu }]): InstalledPackage => {
      const platform = [os, cpu].map((names) => names?.join(', ')).filter((names) => names !== undefined)
      const only = platform.length > 0 ? platform.join(' ') : optional ? 'optional' : ''
      return { name: path.slice(path.lastIndexOf(folder) + folder.length), version, licence, only }
    })
  const versions = new Map(installed.map((each) => [`${each.name} ${each.version}`, each]))
  return [...versions].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each)
}

/** If a package offers several licences, one reviewed licence is enough. */
const isAllowed = (licence: string): boolean =>
  licence
    .replace(/^\((.*)\)$/, '$1')
    .split(' OR ')
    .some((each) => allowed.includes(each))

/** Packages whose licence is not reviewed, as `name version: licence`. */
export const notAllowed = (lock: LockFile): string[] =>
  productionPackages(lock)
    .filter(({ licence }) => !isAllowed(licence))
    .map(({ name, version, licence }) => `${name} ${version}: ${licence}`)

/** The number of packages of each licence and the table of all packages, in Markdown, for docs/licences.md. */
export function licencesTable(lock: LockFile): string {
  const installed = productionPackages(lock)
  const counts = new Map<string, number>()
  for (const { licence } of installed) counts.set(licence, (counts.get(licence) ?? 0) + 1)
  const summary = [...counts].sort(([, a], [, b]) => b - a)
  return [
    `${installed.length} packages: ${summary.map(([licence, count]) => `${count} ${licence}`).join(', ')}.`,
    '',
    '| Package | Version | Licence | Only on |',
    '|---|---|---|---|',
    ...installed.map(({ name, version, licence, only }) => `| ${name} | ${version} | ${licence} | ${only} |`),
  ].join('\n')
}
