// The versions of tasks in the store: who made each one, when, and from what; which one is active, and which one is on
// trial. All functions run within a transaction.

import type { Owner } from '../owner.js'
import type { ProblemType } from '../petl/task.js'
import { Problem } from '../problem.js'
import { recordsIn, type StoreReader, type StoreWriter } from '../store/store.js'
import { ownerOf, type TaskOwner } from '../tenants/tenant.js'
import { charge, limitsOf, usageOf } from '../tenants/usage.js'
import { taskKey } from './task-key.js'

export type VersionSource =
  | { readonly kind: 'upload' }
  | { readonly kind: 'job'; readonly job: string; readonly stage: 'head' | 'final' }

export interface VersionRecord {
  /** From 1. Numbers are not used again while the task exists. */
  readonly number: number
  /** SHA-256 of the file. */
  readonly digest: string
  /** Of the file. */
  readonly bytes: number
  /** Of the report of its training. Absent if it has none. */
  readonly reportBytes?: number
  /** ISO 8601. Null for a version that an earlier version of this program stored. */
  readonly created: string | null
  /** Who made it, as in the audit trail. Null for a version that an earlier version of this program stored. */
  readonly by: string | null
  readonly source: VersionSource
  readonly problemType?: ProblemType
  readonly metric?: string
  readonly score?: number
  readonly interval?: readonly [low: number, high: number]
  /** How many examples it was trained on. */
  readonly examples?: number
  /** The last trial of the version as the candidate. */
  readonly trial?: TrialRecord
}

export interface TrialRecord {
  /** ISO 8601. */
  readonly since: string
  /** Texts for which the active version and this one were compared, and those for which they differed. */
  readonly compared: number
  readonly differ: number
}

export interface NewVersion extends Omit<VersionRecord, 'number' | 'bytes' | 'reportBytes' | 'created' | 'trial'> {
  readonly file: Uint8Array
  /** The report of its training. One of more than `maxReportBytes` is not kept. */
  readonly report?: object
}

/** What the candidate gets: a share of the traffic, above 0 and below 1, or copies of texts (`shadow`). */
export type Trial = number | 'shadow'

export interface Candidate {
  readonly digest: string
  readonly trial: Trial
}

/** The value of a record of the table `versions`. */
export interface ActiveVersion {
  readonly digest: string
  readonly candidate?: Candidate
}

/** A version that a request asks for: its number, or the digest of its file. */
export type VersionChoice = number | { readonly digest: string }

export interface VersionChange {
  /** Digest of the active version. Undefined if there was none. */
  readonly before: string | undefined
  readonly after: string
}

/** Most versions of a task that can be kept, so that all of them can be removed in one transaction. */
export const maxVersions = 100
export const maxReportBytes = 256 * 1024

const keyOfNumber = (key: string, number: number): string => `${key}/${String(number).padStart(8, '0')}`
const keyOfDigest = (key: string, digest: string): string => `${key}/${digest}`

/** Most records have no candidate, and predictions read them. */
export function parseActive(record: Buffer): ActiveVersion {
  const text = record.toString()
  const end = text.indexOf(' ')
  if (end === -1) return { digest: text }
  const [candidate = '', trial] = text.slice(end + 1).split(' ')
  return {
    digest: text.slice(0, end),
    candidate: { digest: candidate, trial: trial === 'shadow' ? trial : Number(trial) },
  }
}

export function readActive(records: StoreReader, key: string): ActiveVersion | undefined {
  const record = records.get('versions', key)
  return record && parseActive(record)
}

/** The versions of a task, oldest first. */
export function readVersions(records: StoreReader, key: string): readonly VersionRecord[] {
  return readHistory(records, key).versions
}

/** A version of a task, by its number. */
export function readVersion(records: StoreReader, key: string, number: number): VersionRecord | undefined {
  const record = records.get('history', keyOfNumber(key, number))
  if (record !== undefined) return parseVersion(record)
  return readVersions(records, key).find((version) => version.number === number)
}

/** The digest of a version. Unlike `readVersion`, it never reads a file. */
export function digestOfVersion(records: StoreReader, key: string, number: number): string | undefined {
  const record = records.get('history', keyOfNumber(key, number))
  if (record !== undefined) return parseVersion(record)?.digest
  const { last, unrecorded } = readRecords(records, key)
  return number === last + 1 ? unrecorded : undefined
}

/** Where the file of a version is stored. */
export const placeOfFile = (
  records: StoreReader,
  key: string,
  digest: string,
): readonly [table: 'files' | 'kept', key: string] =>
  readActive(records, key)?.digest === digest ? ['files', key] : ['kept', keyOfDigest(key, digest)]

/** The JSON text of the report of a version's training. */
export const readReport = (records: StoreReader, key: string, number: number): Buffer | undefined =>
  records.get('reports', keyOfNumber(key, number))

/**
 * Adds a version. If a version has the same digest already, it adds only a report that is missing. Beyond `keep` versions,
 * and while the quota of bytes has no room for the new one, it drops the oldest ones: never the active one, the candidate or
 * the new one.
 * @returns the number of the version
 * @throws Problem `unknown_tenant`, `quota_exceeded`; nothing is written then
 */
export function addVersion(
  records: StoreWriter,
  by: TaskOwner,
  id: string,
  version: NewVersion,
  { activate, keep }: { readonly activate: boolean; readonly keep: number },
): number {
  const { owner, key, limits, active, history, versions, repair } = openVersions(records, by, id)
  const known = versions.find(({ digest }) => digest === version.digest)
  const { file, report, ...about } = version
  const reportText = textOfReport(report)
  if (known) {
    // The head alone was the result of a job: its report comes last.
    if (reportText && known.reportBytes === undefined) {
      charge(records, owner, limits, { bytes: reportText.byteLength })
      writeVersion(records, key, { ...known, ...about, source: known.source, reportBytes: reportText.byteLength })
      records.put('reports', keyOfNumber(key, known.number), reportText)
    }
    repair()
    if (activate) makeActive(records, key, active, known.digest)
    return known.number
  }
  const added: VersionRecord = {
    ...about,
    number: history.last + 1,
    bytes: file.byteLength,
    ...(reportText && { reportBytes: reportText.byteLength }),
    created: new Date().toISOString(),
  }
  const inUse = activate ? [] : [active?.digest, active?.candidate?.digest]
  const room = limits.bytes === null ? Number.POSITIVE_INFINITY : limits.bytes - usageOf(records, owner).bytes
  const dropped = versionsToDrop(versions, inUse, versions.length + 1 - keep, bytesOf(added) - room)
  const isNew = !taskExists(records, key)
  charge(records, owner, limits, { tasks: isNew ? 1 : 0, bytes: bytesOf(added) - sumOfBytes(dropped) })
  repair()
  for (const mark of history.marks) records.remove('history', mark)
  writeVersion(records, key, added)
  if (reportText) records.put('reports', keyOfNumber(key, added.number), reportText)
  if (activate) makeActive(records, key, active, added.digest, file)
  else records.put('kept', keyOfDigest(key, added.digest), file)
  for (const each of dropped) removeVersion(records, key, each)
  return added.number
}

/**
 * Makes a version the active one. This ends the trial of a candidate.
 * @throws Problem `unknown_version`, `unknown_tenant`
 */
export function activate(records: StoreWriter, by: TaskOwner, id: string, number: number): VersionChange {
  const { key, active, version, repair } = findVersion(records, by, id, number)
  repair()
  makeActive(records, key, active, version.digest)
  return { before: active?.digest, after: version.digest }
}

/**
 * Makes a version the candidate. The active version cannot be one: this only ends the trial of the present candidate.
 * @throws Problem `unknown_version`, `unknown_tenant`; `no_version` if no version is active
 */
export function startTrial(
  records: StoreWriter,
  by: TaskOwner,
  id: string,
  number: number,
  trial: Trial,
): { readonly before: ActiveVersion; readonly after: ActiveVersion } {
  const { key, active, version, repair } = findVersion(records, by, id, number)
  if (active === undefined)
    throw new Problem('no_version', `task "${id}" has no active version; activate one without share and shadow`, {
      task: id,
    })
  const candidate = version.digest === active.digest ? undefined : { digest: version.digest, trial }
  repair()
  const after: ActiveVersion = { digest: active.digest, ...(candidate && { candidate }) }
  writeActive(records, key, after)
  if (candidate)
    writeVersion(records, key, { ...version, trial: { since: new Date().toISOString(), compared: 0, differ: 0 } })
  return { before: active, after }
}

/** Adds comparisons to the trial of a candidate. Does nothing if the version is no longer the candidate. */
export function countComparisons(
  records: StoreWriter,
  owner: Owner,
  id: string,
  digest: string,
  { compared, differ }: Pick<TrialRecord, 'compared' | 'differ'>,
): void {
  const key = taskKey(owner, id)
  if (readActive(records, key)?.candidate?.digest !== digest) return
  const version = readVersions(records, key).find((each) => each.digest === digest)
  if (version?.trial === undefined) return
  const trial = { ...version.trial, compared: version.trial.compared + compared, differ: version.trial.differ + differ }
  writeVersion(records, key, { ...version, trial })
}

/**
 * Deletes a version. If it is the candidate, this ends its trial.
 * @throws Problem `unknown_version`, `unknown_tenant`; `version_in_use` for the active version
 */
export function deleteVersion(records: StoreWriter, by: TaskOwner, id: string, number: number): VersionRecord {
  const { owner, key, limits, active, history, version, repair } = findVersion(records, by, id, number)
  if (active?.digest === version.digest)
    throw new Problem('version_in_use', `version ${number} of task "${id}" is active; activate another one first`, {
      task: id,
      version: number,
    })
  charge(records, owner, limits, { bytes: -bytesOf(version) })
  repair()
  removeVersion(records, key, version)
  // The number must not be given to another version.
  if (number === history.last)
    records.put('history', keyOfNumber(key, number), Buffer.from(JSON.stringify({ number, deleted: true })))
  if (active?.candidate?.digest === version.digest) writeActive(records, key, { digest: active.digest })
  return version
}

/** Removes all versions of a task. @returns the bytes that they took */
export function removeVersions(records: StoreWriter, key: string): number {
  const history = readHistory(records, key)
  const lost = lostVersions(records, key, history)
  const active = readActive(records, key)?.digest
  for (const version of history.versions) removeVersion(records, key, version, active)
  for (const mark of history.marks) records.remove('history', mark)
  if (active !== undefined) {
    records.remove('versions', key)
    records.remove('files', key)
  }
  return sumOfBytes(history.versions) - lost.reduce((sum, { bytes }) => sum + bytes, 0)
}

/** Whether a task has examples or versions, even if none is active. */
export const taskExists = (records: StoreReader, key: string): boolean =>
  records.get('versions', key) !== undefined || records.get('datasets', key) !== undefined || hasHistory(records, key)

export const bytesOf = ({ bytes, reportBytes = 0 }: Pick<VersionRecord, 'bytes' | 'reportBytes'>): number =>
  bytes + reportBytes

export const unknownVersion = (id: string, number: number): Problem =>
  new Problem('unknown_version', `task "${id}" has no version ${number}; GET /tasks/${id}/versions lists them`, {
    task: id,
    version: number,
  })

const sumOfBytes = (versions: readonly VersionRecord[]): number =>
  versions.reduce((sum, version) => sum + bytesOf(version), 0)

export const hasHistory = (records: StoreReader, key: string): boolean =>
  [...records.range('history', { ...recordsIn(key), limit: 1 })].length > 0

interface HistoryRecords {
  /** The versions that have records, oldest first. */
  readonly recorded: readonly VersionRecord[]
  /** Keys of records that only mark a number as used, because its version was deleted. */
  readonly marks: readonly string[]
  /** The last number that was given; 0 if there was none. */
  readonly last: number
  /**
   * Digest of the active version, if it has no record: a program that knows no history has stored it. This was an earlier
   * version of this program, or another replica before its upgrade.
   */
  readonly unrecorded: string | undefined
}

function readRecords(records: StoreReader, key: string): HistoryRecords {
  const recorded: VersionRecord[] = []
  const marks: string[] = []
  let last = 0
  for (const [recordKey, record] of records.range('history', recordsIn(key))) {
    const version = parseVersion(record)
    if (version) recorded.push(version)
    else marks.push(recordKey)
    last = Number(recordKey.slice(key.length + 1))
  }
  const active = readActive(records, key)?.digest
  const isRecorded = recorded.some(({ digest }) => digest === active)
  return { recorded, marks, last, unrecorded: isRecorded ? undefined : active }
}

interface History {
  /** Oldest first. */
  readonly versions: readonly VersionRecord[]
  readonly marks: readonly string[]
  readonly last: number
  readonly unrecorded?: VersionRecord
}

function readHistory(records: StoreReader, key: string): History {
  const { recorded, marks, last, unrecorded: digest } = readRecords(records, key)
  if (digest === undefined) return { versions: recorded, marks, last }
  const number = last + 1
  const bytes = records.get('files', key)?.byteLength ?? 0
  const unrecorded: VersionRecord = { number, digest, bytes, created: null, by: null, source: { kind: 'upload' } }
  return { versions: [...recorded, unrecorded], marks, last: number, unrecorded }
}

/** Versions without a file. A program that knows no history replaces the file of the active version, and does not keep it. */
const lostVersions = (records: StoreReader, key: string, { versions, unrecorded }: History): VersionRecord[] =>
  unrecorded === undefined
    ? []
    : versions.filter(
        (version) => version !== unrecorded && records.get('kept', keyOfDigest(key, version.digest)) === undefined,
      )

/** What a change of the versions of a task begins with. @throws Problem `unknown_tenant` */
function openVersions(records: StoreWriter, by: TaskOwner, id: string) {
  const owner = ownerOf(by)
  const key = taskKey(owner, id)
  const limits = limitsOf(records, by)
  const active = readActive(records, key)
  const history = readHistory(records, key)
  const lost = lostVersions(records, key, history)
  const versions = history.versions.filter((version) => !lost.includes(version))
  /** Writes the record of the active version if it has none, and removes those of lost versions. Their files are not charged. */
  const repair = (): void => {
    if (history.unrecorded) writeVersion(records, key, history.unrecorded)
    for (const version of lost) {
      charge(records, owner, limits, { bytes: -(version.reportBytes ?? 0) })
      removeVersion(records, key, version)
    }
  }
  return { owner, key, limits, active, history, versions, repair }
}

/** Undefined for a number whose version was deleted. */
function parseVersion(record: Buffer): VersionRecord | undefined {
  const version = JSON.parse(record.toString()) as VersionRecord & { readonly deleted?: true }
  return version.deleted ? undefined : version
}

/** @throws Problem `unknown_version`, `unknown_tenant` */
function findVersion(records: StoreWriter, by: TaskOwner, id: string, number: number) {
  const opened = openVersions(records, by, id)
  const version = opened.versions.find((each) => each.number === number)
  if (version === undefined) throw unknownVersion(id, number)
  return { ...opened, version }
}

/**
 * @param inUse digests of versions that must stay
 * @param count least number of versions to drop
 * @param bytes least number of bytes to free
 */
function versionsToDrop(
  versions: readonly VersionRecord[],
  inUse: readonly (string | undefined)[],
  count: number,
  bytes: number,
): VersionRecord[] {
  const dropped: VersionRecord[] = []
  let freed = 0
  for (const version of versions) {
    if (dropped.length >= count && freed >= bytes) break
    if (inUse.includes(version.digest)) continue
    dropped.push(version)
    freed += bytesOf(version)
  }
  return dropped
}

/** @param added the file, if it is that of a new version */
function makeActive(
  records: StoreWriter,
  key: string,
  active: ActiveVersion | undefined,
  digest: string,
  added?: Uint8Array,
): void {
  if (active?.digest !== digest) {
    const file = added ?? records.get('kept', keyOfDigest(key, digest))
    if (file === undefined) throw new Error(`the file of version ${digest} is missing`)
    const before = active && records.get('files', key)
    if (active && before) records.put('kept', keyOfDigest(key, active.digest), before)
    records.put('files', key, file)
    if (added === undefined) records.remove('kept', keyOfDigest(key, digest))
  }
  writeActive(records, key, { digest })
}

function writeActive(records: StoreWriter, key: string, { digest, candidate }: ActiveVersion): void {
  const trial = candidate ? ` ${candidate.digest} ${candidate.trial}` : ''
  records.put('versions', key, Buffer.from(`${digest}${trial}`))
}

const writeVersion = (records: StoreWriter, key: string, version: VersionRecord): void =>
  records.put('history', keyOfNumber(key, version.number), Buffer.from(JSON.stringify(version)))

/** @param active the digest of the active version, whose file is not among those that are kept */
function removeVersion(
  records: StoreWriter,
  key: string,
  { number, digest, reportBytes = 0 }: VersionRecord,
  active?: string,
): void {
  records.remove('history', keyOfNumber(key, number))
  if (reportBytes > 0) records.remove('reports', keyOfNumber(key, number))
  if (digest !== active) records.remove('kept', keyOfDigest(key, digest))
}

function textOfReport(report: object | undefined): Buffer | undefined {
  const text = report && Buffer.from(JSON.stringify(report))
  return text && text.byteLength <= maxReportBytes ? text : undefined
}
