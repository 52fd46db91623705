// Explains why a write or a file system operation failed: what the operating system reported, and what to do about it.

import { randomUUID } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { join } from 'node:path'

interface Cause {
  readonly what: string
  readonly remedy: string
}

const notOwned = "make the directory and its files the property of the server's user"

/** By the name of the error code. */
const causes: Partial<Record<string, Cause>> = {
  ENOSPC: {
    what: 'no space left on device',
    remedy: 'free space on its file system (df; df -i shows the number of files)',
  },
  EDQUOT: { what: 'disk quota exceeded', remedy: "raise the quota of the server's user, or free space under it" },
  EFBIG: { what: 'file too large', remedy: 'raise the limit on the size of a file (ulimit -f)' },
  EIO: {
    what: 'input/output error',
    remedy: 'the disk or the connection to it fails; see the kernel log (dmesg)',
  },
  EROFS: {
    what: 'read-only file system',
    remedy: 'mount it for writing; after a disk fault the kernel remounts it read-only, and its log (dmesg) says so',
  },
  EACCES: { what: 'permission denied', remedy: notOwned },
  EPERM: { what: 'operation not permitted', remedy: notOwned },
  EMFILE: { what: 'too many open files', remedy: 'raise the limit on open files of the process (ulimit -n)' },
  ENFILE: { what: 'too many open files on the machine', remedy: 'raise its limit on open files (fs.file-max)' },
  ENOMEM: { what: 'not enough memory', remedy: 'give the process more memory or address space' },
  EEXIST: { what: 'a file of that name exists', remedy: 'choose a directory' },
  ENOTDIR: { what: 'a part of its path is not a directory', remedy: 'choose a directory' },
}

/** The name of an error's code. Node's errors have the name, those of lmdb the number. */
export function errorName(error: unknown): string | undefined {
  const { code } = error as { code?: unknown }
  if (typeof code !== 'number') return typeof code === 'string' ? code : undefined
  return Object.entries(constants.errno).find(([, number]) => number === code)?.[0]
}

export function describeError(error: unknown): string {
  const name = errorName(error) ?? ''
  const cause = causes[name]
  return cause === undefined ? (error as Error).message : `${cause.what} (${name}); ${cause.remedy}`
}

/** More than the space that is left on a disk that counts as full. */
const probeBytes = 256 * 1024

/**
 * Finds the real cause of a failed write in a directory. lmdb reports EIO for a write that was only partly made, and no
 * code for a failed copy. Another write then fails with the real cause, such as a full disk.
 */
export async function findWriteError(error: unknown, directory: string): Promise<unknown> {
  if ((errorName(error) ?? 'EIO') !== 'EIO') return error
  const probe = join(directory, `.probe-${randomUUID()}`)
  try {
    await writeFile(probe, Buffer.alloc(probeBytes), { mode: 0o600 })
    return error
  } catch (reason) {
    return ['ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS'].includes(errorName(reason) ?? '') ? reason : error
  } finally {
    await rm(probe, { force: true }).catch(() => {})
  }
}
