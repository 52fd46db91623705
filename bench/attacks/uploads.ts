// Attacks by uploads: bodies that do not end or are held back, and files that are expensive to read.

import { type Attack, anyResponse, type LongBody, many, onlyRejected, send } from './attack.js'
import type { AttackTarget, RequestParts } from './target.js'
import { attackTask, largestBytes, manyTensorsTask, maskTask, widestHead } from './task-files.js'

const octets = { 'content-type': 'application/octet-stream' }
const boundary = 'x'
const form = { 'content-type': `multipart/form-data; boundary=${boundary}` }
const filePart = `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.safetensors"\r\nContent-Type: application/octet-stream\r\n\r\n`
const fieldPart = `--${boundary}\r\nContent-Disposition: form-data; name="id"\r\n\r\n`
const end = `\r\n--${boundary}--\r\n`

/** An upload of the largest size without its last byte. */
const heldUpload = (target: AttackTarget): Buffer =>
  target.request('PUT', '/tasks/held', {
    body: Buffer.alloc(largestBytes),
    headers: octets,
    contentLength: largestBytes + 1,
  })

const megabyte = 1024 * 1024
/** In megabytes: several times the limit of an upload. */
const longBodyPieces = 100

/** A chunked body of 100 MB with given text before and after it. */
function longBody(
  target: AttackTarget,
  method: string,
  path: string,
  headers: RequestParts['headers'],
  text: [string, string],
) {
  const chunk = (body: Buffer) =>
    Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n')])
  const request = target.request(method, path, { headers: { ...headers, 'transfer-encoding': 'chunked' } })
  const [before, after] = text.map((part) => (part === '' ? Buffer.alloc(0) : chunk(Buffer.from(part))))
  return {
    head: Buffer.concat([request, before ?? Buffer.alloc(0)]),
    piece: chunk(Buffer.alloc(megabyte, 'a')),
    pieces: longBodyPieces,
    tail: Buffer.concat([after ?? Buffer.alloc(0), Buffer.from('0\r\n\r\n')]),
  } satisfies LongBody
}

/** Uploads the same file repeatedly, and requests the description of the task. */
const uploadAndDescribe = (target: AttackTarget, file: Buffer) =>
  send(target.put('odd', file), target.get('/tasks/odd'))

export const uploadAttacks: readonly Attack[] = [
  {
    name: 'uploads-held',
    sends: 'uploads of 16 MB without their last byte',
    by: 'tenant',
    connections: 128,
    allowed: anyResponse,
    prepare: (target) => ({ kind: 'hold', bytes: heldUpload(target), reads: true }),
  },
  {
    name: 'uploads-held-beyond-quota',
    sends: 'uploads of 16 MB without their last byte, from a tenant with a quota of 1 MB and 5 requests/s',
    by: 'limited',
    connections: 128,
    allowed: onlyRejected,
    prepare: (target) => ({ kind: 'hold', bytes: heldUpload(target), reads: true }),
  },
  {
    name: 'uploads-held-without-key',
    sends: 'uploads of 16 MB without their last byte, without an API key',
    by: 'anonymous',
    connections: 128,
    allowed: onlyRejected,
    prepare: (target) => ({ kind: 'hold', bytes: heldUpload(target), reads: true }),
  },
  {
    name: 'forms-held',
    sends: 'forms with a file of 16 MB, without their last byte',
    by: 'tenant',
    connections: 128,
    allowed: anyResponse,
    prepare: (target) => {
      const body = Buffer.concat([Buffer.from(filePart), Buffer.alloc(largestBytes)])
      const bytes = target.request('POST', '/tasks', { body, headers: form, contentLength: body.length + 1 })
      return { kind: 'hold', bytes, reads: true }
    },
  },
  {
    name: 'endless-bodies',
    sends: 'chunked bodies of 100 MB, as an upload and as a prediction',
    by: 'tenant',
    connections: 16,
    allowed: onlyRejected,
    prepare: (target) => ({
      kind: 'stream',
      bodies: [
        longBody(target, 'PUT', '/tasks/endless', octets, ['', '']),
        longBody(target, 'POST', '/tasks/sst2/predict', { 'content-type': 'application/json' }, ['{"inputs":"', '"}']),
      ],
    }),
  },
  {
    name: 'endless-forms',
    sends:
      'chunked forms with 100 MB before the first part, after the last part, in a field, in a file or in the head of a part',
    by: 'tenant',
    connections: 10,
    allowed: onlyRejected,
    prepare: (target) => {
      const file = `${filePart}no task`
      const around: readonly [string, string][] = [
        ['', `\r\n${file}${end}`],
        [`${file}${end}`, ''],
        [fieldPart, `\r\n${file}${end}`],
        [filePart, end],
        [`--${boundary}\r\nContent-Disposition: form-data; name="`, `"\r\n\r\n${end}`],
      ]
      return { kind: 'stream', bodies: around.map((text) => longBody(target, 'POST', '/tasks', form, text)) }
    },
  },
  {
    name: 'many-parts',
    sends: 'forms of 100,000 parts',
    by: 'tenant',
    connections: 8,
    allowed: onlyRejected,
    prepare: (target) => {
      const body = `${many(100_000, () => `${fieldPart}a\r\n`).join('')}--${boundary}--\r\n`
      return send(target.request('POST', '/tasks', { body, headers: form }))
    },
  },
  {
    name: 'metadata-keys',
    sends: 'files with 190,000 metadata keys',
    by: 'tenant',
    connections: 4,
    allowed: anyResponse,
    prepare: (target) => {
      const metadata = Object.fromEntries(many(190_000, (index) => [`k${index}`, 'v'.repeat(60)]))
      return uploadAndDescribe(target, attackTask({ metadata }))
    },
  },
  {
    name: 'metadata-escapes',
    sends: 'files with 8 million escape sequences in a string of the header',
    by: 'tenant',
    connections: 4,
    allowed: anyResponse,
    prepare: (target) => uploadAndDescribe(target, attackTask({ metadata: { description: '\n'.repeat(8_000_000) } })),
  },
  {
    name: 'many-metrics',
    sends: 'files with 190,000 metrics, and requests for their description',
    by: 'tenant',
    connections: 4,
    allowed: anyResponse,
    prepare: (target) => {
      const metrics = JSON.stringify(Object.fromEntries(many(190_000, (index) => [`k${index}`, index])))
      return uploadAndDescribe(target, attackTask({ metadata: { metrics } }))
    },
  },
  {
    name: 'long-descriptions',
    sends: 'uploads of 24 tasks with descriptions of 16 MB, and requests for them',
    by: 'tenant',
    connections: 2,
    allowed: anyResponse,
    prepare: (target) => {
      const description = 'x'.repeat(largestBytes - 200_000)
      const requests = many(24, (version) => [
        target.put(`long-${version}`, attackTask({ metadata: { description }, version })),
        target.get(`/tasks/long-${version}`),
      ])
      return send(...requests.flat())
    },
  },
  {
    name: 'many-labels',
    sends: 'files with 100,000 labels of 100 letters, and requests for their description',
    by: 'tenant',
    connections: 4,
    allowed: anyResponse,
    prepare: (target) => {
      const labels = many(100_000, (index) => `${'l'.repeat(100)}${index}`)
      return uploadAndDescribe(target, attackTask({ labels, dense: 1 }))
    },
  },
  {
    name: 'many-tensors',
    sends: 'files with 150,000 empty tensors',
    by: 'tenant',
    connections: 4,
    allowed: anyResponse,
    prepare: (target) => uploadAndDescribe(target, manyTensorsTask(150_000)),
  },
  {
    name: 'invalid-masks',
    sends: 'files whose mask has 16 million entries of one byte each',
    by: 'tenant',
    connections: 4,
    allowed: onlyRejected,
    prepare: (target) => {
      const data = new Uint8Array(largestBytes).fill(1)
      const shapes = [
        [1, largestBytes],
        [largestBytes, 1],
      ]
      const files = shapes.map((shape) => maskTask({ dtype: 'BOOL', shape, data }))
      return send(...files.map((file) => target.put('mask', file)))
    },
  },
  {
    name: 'wide-files',
    sends: 'files of 16 MB with a wide head, in different versions',
    by: 'tenant',
    connections: 4,
    allowed: anyResponse,
    prepare: (target) => {
      const files = many(4, (version) => attackTask({ labels: widestHead, version }))
      return send(...files.map((file) => target.put('wide', file)))
    },
  },
  {
    name: 'invalid-files',
    sends: 'uploads of 16 MB that are not safetensors files',
    by: 'tenant',
    connections: 8,
    allowed: onlyRejected,
    prepare: (target) => send(target.put('none', Buffer.alloc(largestBytes, 1))),
  },
  {
    name: 'churn',
    sends: 'uploads and removals of small tasks',
    by: 'tenant',
    connections: 16,
    allowed: anyResponse,
    prepare: (target) => {
      const requests = many(16, (version) => [
        target.put(`churn-${version}`, attackTask({ version })),
        target.request('DELETE', `/tasks/churn-${version}`),
      ])
      return send(...requests.flat())
    },
  },
]
