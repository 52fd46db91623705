// Submitted rows and their results in messages between processes; see submitCall.

import type { RowResult } from '../engine/engine.js'
import type { Submission } from '../scheduler/submission.js'
import type { Part, ReceivedPart } from './channel.js'
import { MalformedMessage } from './malformed-message.js'
import type { Values } from './packets.js'
import type { SentKind, SentSubmission } from './protocol.js'

/** A part of a response ends with the row that reaches this size, in bytes. */
const partBytes = 2 ** 20

/** Sent rows, without the request that they belong to. */
export type SentRows = Pick<SentSubmission, 'kinds' | 'rows'>

export function sentRows(submissions: readonly Submission[]): Required<Part<SentRows>> {
  const kinds = new Map<string, { readonly place: number; readonly kind: SentKind }>()
  const placeOf = ({ task, row }: Submission): number => {
    const { maskKey, pooling, bare = false, withHidden } = row
    const kind = { task, maskKey, pooling, bare, withHidden }
    const key = JSON.stringify(kind)
    const { place } = kinds.get(key) ?? { place: kinds.size }
    kinds.set(key, { place, kind })
    return place
  }
  const tokens = submissions.reduce((sum, { row }) => sum + row.inputIds.length, 0)
  const ids = new Int32Array(2 * tokens)
  let at = 0
  const rows = submissions.map((submission): SentSubmission['rows'][number] => {
    const { row, cost = null } = submission
    ids.set(row.inputIds, at)
    ids.set(row.tokenTypeIds, tokens + at)
    at += row.inputIds.length
    return [placeOf(submission), row.inputIds.length, cost]
  })
  return { body: { kinds: Array.from(kinds.values(), ({ kind }) => kind), rows }, arrays: [ids] }
}

/**
 * @param bitsetOf returns the bitset of a mask when an engine asks for it
 * @throws MalformedMessage
 */
export function receivedRows(
  { body: { kinds, rows }, arrays }: ReceivedPart<SentRows>,
  bitsetOf: (maskKey: string) => Uint8Array,
): Submission[] {
  const [ids] = arrays
  const tokens = rows.reduce((sum, [, length]) => sum + length, 0)
  if (!(ids instanceof Int32Array) || ids.length !== 2 * tokens)
    throw new MalformedMessage('the token ids of a request do not match its rows')
  let at = 0
  return rows.map(([place, length, cost]) => {
    const kind = kinds[place]
    if (kind === undefined) throw new MalformedMessage('a row of a request has an unknown kind')
    const { task, maskKey, pooling, bare, withHidden } = kind
    const inputIds = ids.subarray(at, at + length)
    const tokenTypeIds = ids.subarray(tokens + at, tokens + at + length)
    at += length
    const row = { inputIds, tokenTypeIds, pooling, bare, maskKey, withHidden, bitset: () => bitsetOf(maskKey) }
    return { task, row, ...(cost !== null && { cost }) }
  })
}

/** Results as the parts of a response, which are bounded in bytes if they have several rows. */
export function sentResults(results: readonly RowResult[]): Part<number[]>[] {
  const parts: { body: number[]; arrays: Values[] }[] = []
  let room = 0
  for (const { pooled, hidden } of results) {
    let part = parts.at(-1)
    if (part === undefined || room <= 0) {
      part = { body: [], arrays: [] }
      parts.push(part)
      room = partBytes
    }
    const arrays = hidden === undefined ? [pooled] : [pooled, hidden]
    part.body.push(arrays.length)
    part.arrays.push(...arrays)
    for (const { byteLength } of arrays) room -= byteLength
  }
  return parts.length > 0 ? parts : [{ body: [] }]
}

/** @throws MalformedMessage if there are not results for a number of rows */
export function receivedResults(parts: readonly ReceivedPart<number[]>[], rows: number): RowResult[] {
  const results = parts.flatMap(({ body, arrays }) => {
    let at = 0
    return body.map((count) => {
      const [pooled, hidden] = arrays.slice(at, at + count)
      at += count
      if (!(pooled instanceof Float32Array) || (count === 2 && !(hidden instanceof Float32Array)))
        throw new MalformedMessage('the vectors of a response do not match its rows')
      return hidden instanceof Float32Array ? { pooled, hidden } : { pooled }
    })
  })
  if (results.length !== rows) throw new MalformedMessage(`a response has ${results.length} rows; expected ${rows}`)
  return results
}
