// A directory with space for only a few uploads, until it gets more.

import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after } from 'node:test'
import { temporaryDirectory } from './material.js'

export const isRoot = process.getuid?.() === 0
const MiB = 1024 * 1024
const mounted: string[] = []
after(() => {
  for (const directory of mounted) execFileSync('umount', ['--lazy', directory])
})

export interface SmallDisk {
  readonly directory: string
  /** The command and arguments that start the server's command. */
  readonly wrapper: readonly string[]
  makeRoom(pid: number | undefined): void
}

/** Mounts a small file system if that is possible. Otherwise limits the size of files. */
export async function smallDisk(): Promise<SmallDisk> {
  const directory = await temporaryDirectory()
  if (!isRoot) {
    const limited = ['sh', '-c', `trap '' XFSZ; ulimit -S -f ${MiB / 512}; exec "$@"`, 'sh']
    const makeRoom = (pid: number | undefined) =>
      void execFileSync('prlimit', ['--pid', String(pid), '--fsize=unlimited:unlimited'])
    return { directory, wrapper: limited, makeRoom }
  }
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', directory])
  mounted.push(directory)
  await writeFile(join(directory, 'filler'), Buffer.alloc(2 * MiB))
  return { directory, wrapper: [], makeRoom: () => rmSync(join(directory, 'filler')) }
}
