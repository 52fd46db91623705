// A limit on the memory of a server's process: a control group (version 2 or 1) where this process may make one, so that
// the kernel enforces it as it does for a container; else a limit on the heap of JavaScript alone.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Command } from './process.js'

export interface MemoryLimit {
  readonly how: string
  /** Starts Node with the limit. */
  readonly command: Command
  /** The most memory that was charged to the group, page cache and kernel's buffers included; undefined without one. */
  peakBytes(): number | undefined
  /** After the limited process has ended. */
  remove(): Promise<void>
}

export const limitMemory = (bytes: number): MemoryLimit => groupLimit(bytes) ?? heapLimit(bytes)

/** Half of it is for the heap; what lies outside the heap is not limited. */
const heapLimit = (bytes: number): MemoryLimit => ({
  how: 'heap limit',
  command: [process.execPath, `--max-old-space-size=${Math.floor(bytes / 2 / 2 ** 20)}`],
  peakBytes: () => undefined,
  remove: async () => {},
})

interface Version {
  readonly name: string
  readonly root: string
  /** The lines of /proc/self/cgroup that belong to it. */
  readonly line: RegExp
  readonly limit: string
  /** Files that keep the process from using swap in place of memory, and their values. Not every kernel has them. */
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

/** Where a group may be made: from the root to the group of this process. */
function parents({ root, line }: Version): string[] {
  if (!existsSync('/proc/self/cgroup')) return []
  const own = line.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1]
  if (own === undefined) return []
  const names = own.split('/').filter((name) => name !== '')
  return [root, ...names.map((_, index) => join(root, ...names.slice(0, index + 1)))]
}

/** Groups that this process has made or tried to make. */
let groups = 0

/** @returns undefined where the group cannot be made, takes no limit, or takes no process */
function groupIn(parent: string, version: Version, bytes: number): MemoryLimit | undefined {
  const group = join(parent, `propetl-bench-${process.pid}-${groups++}`)
  const processes = join(group, 'cgroup.procs')
  try {
    mkdirSync(group)
  } catch {
    return undefined
  }
  try {
    // A plain directory, or a group without a memory controller, has no such file.
    if (existsSync(join(group, version.limit)) && setLimit(group, version, bytes) && isEntered(processes))
      return {
        how: version.name,
        command: ['sh', '-c', enter, processes, process.execPath],
        peakBytes: () => readNumber(join(group, version.peak)),
        remove: () => removeGroup(group),
      }
  } catch {
    // The limit cannot be changed here.
  }
  rmdirSync(group)
  return undefined
}

/** @returns whether the kernel took the limit */
function setLimit(group: string, version: Version, bytes: number): boolean {
  writeFileSync(join(group, version.limit), String(bytes))
  const [swap, value] = version.swap(bytes)
  if (existsSync(join(group, swap))) writeFileSync(join(group, swap), value)
  return Number(readFileSync(join(group, version.limit), 'utf8')) === bytes
}

const isEntered = (processes: string): boolean => spawnSync('sh', ['-c', enter, processes, 'true']).status === 0

/** Moves the shell into the group and becomes the command; all of its memory is charged from the beginning. */
const enter = 'echo $$ > "$0" && exec "$@"'

function readNumber(file: string): number | undefined {
  return existsSync(file) ? Number(readFileSync(file, 'utf8')) : undefined
}

/** A group is busy for a moment after its last process has ended. */
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
