// Limits the memory of a server's process. Uses a control group (version 2 or 1) if this process may create one, so that
// the kernel enforces the limit as for a container. Otherwise limits only the JavaScript heap.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Command } from './process.js'

export interface MemoryLimit {
  /** The mechanism, for the log. */
  readonly mechanism: string
  /** Starts Node.js under the limit. */
  readonly command: Command
  /** Peak memory that the kernel charged to the group, with page cache and kernel buffers; undefined without a group. */
  peakBytes(): number | undefined
  /** To be called after the limited process has exited. */
  remove(): Promise<void>
}

export const limitMemory = (bytes: number): MemoryLimit => groupLimit(bytes) ?? heapLimit(bytes)

/** Gives half of the limit to the heap. Memory outside the heap is not limited. */
const heapLimit = (bytes: number): MemoryLimit => ({
  mechanism: 'heap limit',
  command: [process.execPath, `--max-old-space-size=${Math.floor(bytes / 2 / 2 ** 20)}`],
  peakBytes: () => undefined,
  remove: async () => {},
})

interface Version {
  readonly name: string
  readonly root: string
  /** Matches this version's line of /proc/self/cgroup. */
  readonly line: RegExp
  readonly limit: string
  /** The file and value that prevent the use of swap. Not every kernel has the file. */
  readonly swap: (bytes: number) => readonly [file: string, value: string]
  readonly peak: string
}

const versions: readonly Version[] = [
  {
    name: 'cgroup v2',
    root: '/sys/fs/cgroup',
    line: /^0::(.*)$/m,
    limit: 'memory.max',
    swap: () => ['memory.swap.max', '0'],
    peak: 'memory.peak',
  },
  {
    name: 'cgroup v1',
    root: '/sys/fs/cgroup/memory',
    line: /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m,
    limit: 'memory.limit_in_bytes',
    swap: (bytes) => ['memory.memsw.limit_in_bytes', String(bytes)],
    peak: 'memory.max_usage_in_bytes',
  },
]

function groupLimit(bytes: number): MemoryLimit | undefined {
  for (const version of versions)
    for (const parent of parents(version)) {
      const limit = groupIn(parent, version, bytes)
      if (limit) return limit
    }
  return undefined
}

/** Possible parents of a new group: the groups from the root to this process's own. */
function parents({ root, line }: Version): string[] {
  if (!existsSync('/proc/self/cgroup')) return []
  const own = line.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1]
  if (own === undefined) return []
  const names = own.split('/').filter((name) => name !== '')
  return [root, ...names.map((_, index) => join(root, ...names.slice(0, index + 1)))]
}

/** Number of groups that this process has created or tried to create. */
let groups = 0

/** @returns undefined if the group cannot be created, does not accept the limit, or does not accept a process */
function groupIn(parent: string, version: Version, bytes: number): MemoryLimit | undefined {
  const group = join(parent, `propetl-bench-${process.pid}-${groups++}`)
  const processes = join(group, 'cgroup.procs')
  try {
    mkdirSync(group)
  } catch {
    return undefined
  }
  try {
    // A plain directory or a group without a memory controller does not have this file.
    if (existsSync(join(group, version.limit)) && setLimit(group, version, bytes) && acceptsProcess(processes))
      return {
        mechanism: version.name,
        command: ['sh', '-c', enter, processes, process.execPath],
        peakBytes: () => readNumber(join(group, version.peak)),
        remove: () => removeGroup(group),
      }
  } catch {
    // The limit is read-only here.
  }
  rmdirSync(group)
  return undefined
}

/** @returns whether the kernel accepted the limit */
function setLimit(group: string, version: Version, bytes: number): boolean {
  writeFileSync(join(group, version.limit), String(bytes))
  const [swap, value] = version.swap(bytes)
  if (existsSync(join(group, swap))) writeFileSync(join(group, swap), value)
  return Number(readFileSync(join(group, version.limit), 'utf8')) === bytes
}

const acceptsProcess = (processes: string): boolean => spawnSync('sh', ['-c', enter, processes, 'true']).status === 0

/** The shell enters the group before it becomes the command, so that all of the command's memory is charged. */
const enter = 'echo $$ > "$0" && exec "$@"'

function readNumber(file: string): number | undefined {
  return existsSync(file) ? Number(readFileSync(file, 'utf8')) : undefined
}

/** Retries, because a group stays busy for a moment after its last process has exited. */
async function removeGroup(group: string): Promise<void> {
  for (let tries = 50; ; tries--) {
    try {
      return rmdirSync(group)
    } catch (error) {
      if (tries === 0) throw error
      await pause(20)
    }
  }
}
