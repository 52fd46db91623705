// Problems that callers get when an lmdb file fails.

import { Problem } from '../problem.js'

export const unavailable = (reason = ''): Problem => new Problem('storage_unavailable', reason)

export const beingReopened = (path: string): Problem => unavailable(`${path} is being reopened after a fault`)

export const notWritten = (path: string, reason: string): Problem =>
  new Problem('storage_failed', `${path} cannot be written: ${reason}; nothing was changed`)

export const unknownOutcome = (path: string, reason: string): Problem =>
  new Problem('outcome_unknown', `${path} failed while it was written: ${reason}; the change may have been made or not`)
