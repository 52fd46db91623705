// What errors of the shared PostgreSQL database, of pg and of TLS mean for the store.

import pg from 'pg'
import { Problem, reasonOf } from '../problem.js'

const { DatabaseError } = pg

/** The connection was lost while a change was being made. The change may have been made or not. */
export class UnknownOutcome extends Error {
  constructor(
    /** The mark that the change has if it was made. */
    readonly mark: string,
    /** The session that may still be making it. */
    readonly session: string,
    override readonly cause: unknown,
  ) {
    super(reasonOf(cause))
  }
}

export const readOnlyServer = () => new Error('the server is read-only: it is a standby, or its disk is full')

/** Whether another session held the lock of changes, or a record, for too long. */
export const isLockTimeout = (error: unknown): boolean => error instanceof DatabaseError && error.code === '55P03'

/** Whether the server rejected this one statement. The next statement may succeed on the same connection. */
export function isRejection(error: unknown): error is pg.DatabaseError {
  return error instanceof DatabaseError && !/^(08|25|40|53300|55P03|57)/.test(error.code ?? '')
}

/** Whether the disk of the server is full. */
export const isFull = ({ code }: pg.DatabaseError): boolean => code === '53100'

/** Error codes of Node for certificates and keys that cannot be used. */
const unusableTls =
  /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|ERR_TLS_|ERR_SSL_|ERR_OSSL_)/
/** Files with certificates and keys. A missing socket has the system call `connect`, and may appear later. */
const unreadableFile = /^(ENOENT|EACCES|EISDIR) (open|read)$/
/** Messages of pg's errors that have no code. */
const unusableUrl = /does not support SSL connections|^SASL: |client password must be a string|SECURITY WARNING/

/** Whether a retry cannot succeed until somebody changes a setting or a privilege. */
export function isLasting(error: unknown): boolean {
  if (error instanceof Problem) return true
  if (error instanceof DatabaseError) return /^(28|3D|3F|42)/.test(error.code ?? '')
  const { code = '', message = '', syscall = '' } = error as NodeJS.ErrnoException
  return unusableTls.test(code) || unreadableFile.test(`${code} ${syscall}`) || unusableUrl.test(message)
}
