// Attacks by uploads: bodies that never end or are held back, and files that take long to read.

import { type Attack, anyAnswer, ask, type LongBody, many, onlyRefused } from './attack.js'
import type { RequestParts, Stage } from './stage.js'
import { attackTask, largestBytes, manyTensorsTask, maskTask, widestHead } from './task-files.js'

const octets = { 'content-type': 'application/octet-stream' }
const boundary = 'x'
const form = { 'content-type': `multipart/form-data; boundary=${boundary}` }
const filePart = `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.safetensors"\r\nContent-Type: application/octet-stream\r\n\r\n`
const fieldPart = `--${boundary}\r\nContent-Disposition: form-data; name="id"\r\n\r\n`
const end = `\r\n--${boundary}--\r\n`

/** An upload of the largest size that lacks its last byte. */
const heldUpload = (stage: Stage): Buffer =>
  stage.request('PUT', '/tasks/held', {
    body: Buffer.alloc(largestBytes),
    headers: octets,
    contentLength: largestBytes + 1,
  })

const megabyte = 1024 * 1024
/** Several times what an upload may have. */
const longBodyPieces = 100

/** A chunked body of 100 MB between a beginning and an end. */
function longBody(
  stage: Stage,
  method: string,
  path: string,
  headers: RequestParts['headers'],
  text: [string, string],
) {
  const chunk = (body: Buffer) =>
    Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n')])
  const request = stage.request(method, path, { headers: { ...headers, 'transfer-encoding': 'chunked' } })
  const [before, after] = text.map((part) => (part === '' ? Buffer.alloc(0) : chunk(Buffer.from(part))))
  return {
    head: Buffer.concat([request, before ?? Buffer.alloc(0)]),
    piece: chunk(Buffer.alloc(megabyte, 'a')),
    pieces: longBodyPieces,
    tail: Buffer.concat([after ?? Buffer.alloc(0), Buffer.from('0\r\n\r\n')]),
  } satisfies LongBody
}

/** Uploads the same file over and over, and describes it where it was taken. */
const uploadAndDescribe = (stage: Stage, file: Buffer) => ask(stage.put('odd', file), stage.get('/tasks/odd'))

export const uploadAttacks: readonly Attack[] = [
  {
    name: 'uploads-held',
    sends: 'uploads of 16 MB but for their last byte',
    by: 'tenant',
    connections: 128,
    allowed: anyAnswer,
    prepare: (stage) => ({ kind: 'hold', bytes: heldUpload(stage), reads: true }),
  },
  {
    name: 'uploads-held-beyond-quota',
    sends: 'the same, from a tenant that may store 1 MB and send 5 requests a second',
    by: 'limited',
    connections: 128,
    allowed: onlyRefused,
    prepare: (stage) => ({ kind: 'hold', bytes: heldUpload(stage), reads: true }),
  },
  {
    name: 'uploads-held-without-key',
    sends: 'the same, without a key',
    by: 'stranger',
    connections: 128,
    allowed: onlyRefused,
    prepare: (stage) => ({ kind: 'hold', bytes: heldUpload(stage), reads: true }),
  },
  {
    name: 'forms-held',
    sends: 'forms with a file of 16 MB but for their last byte',
    by: 'tenant',
    connections: 128,
    allowed: anyAnswer,
    prepare: (stage) => {
      const body = Buffer.concat([Buffer.from(filePart), Buffer.alloc(largestBytes)])
      const bytes = stage.request('POST', '/tasks', { body, headers: form, contentLength: body.length + 1 })
      return { kind: 'hold', bytes, reads: true }
    },
  },
  {
    name: 'endless-bodies',
    sends: 'chunked bodies of 100 MB: an upload, a prediction',
    by: 'tenant',
    connections: 16,
    allowed: onlyRefused,
    prepare: (stage) => ({
      kind: 'pour',
      bodies: [
        longBody(stage, 'PUT', '/tasks/endless', octets, ['', '']),
        longBody(stage, 'POST', '/tasks/sst2/predict', { 'content-type': 'application/json' }, ['{"inputs":"', '"}']),
      ],
    }),
  },
  {
    name: 'endless-forms',
    sends:
      'chunked forms of 100 MB before the first part, behind the last, in a field, in a file, in the head of a part',
    by: 'tenant',
    connections: 10,
    allowed: onlyRefused,
    prepare: (stage) => {
      const file = `${filePart}no task`
      const around: readonly [string, string][] = [
        ['', `\r\n${file}${end}`],
        [`${file}${end}`, ''],
        [fieldPart, `\r\n${file}${end}`],
        [filePart, end],
        [`--${boundary}\r\nContent-Disposition: form-data; name="`, `"\r\n\r\n${end}`],
      ]
      return { kind: 'pour', bodies: around.map((text) => longBody(stage, 'POST', '/tasks', form, text)) }
    },
  },
  {
    name: 'many-parts',
    sends: 'forms of 100,000 parts',
    by: 'tenant',
    connections: 8,
    allowed: onlyRefused,
    prepare: (stage) => {
      const body = `${many(100_000, () => `${fieldPart}a\r\n`).join('')}--${boundary}--\r\n`
      return ask(stage.request('POST', '/tasks', { body, headers: form }))
    },
  },
  {
    name: 'metadata-keys',
    sends: 'files with 190,000 keys of metadata',
    by: 'tenant',
    connections: 4,
    allowed: anyAnswer,
    prepare: (stage) => {
      const metadata = Object.fromEntries(many(190_000, (index) => [`k${index}`, 'v'.repeat(60)]))
      return uploadAndDescribe(stage, attackTask({ metadata }))
    },
  },
  {
    name: 'metadata-escapes',
    sends: 'files with 8 million escapes in a string of their header',
    by: 'tenant',
    connections: 4,
    allowed: anyAnswer,
    prepare: (stage) => uploadAndDescribe(stage, attackTask({ metadata: { description: '\n'.repeat(8_000_000) } })),
  },
  {
    name: 'many-metrics',
    sends: 'files with 190,000 metrics, and asks for their description',
    by: 'tenant',
    connections: 4,
    allowed: anyAnswer,
    prepare: (stage) => {
      const metrics = JSON.stringify(Object.fromEntries(many(190_000, (index) => [`k${index}`, index])))
      return uploadAndDescribe(stage, attackTask({ metadata: { metrics } }))
    },
  },
  {
    name: 'long-descriptions',
    sends: '24 tasks with a description of 16 MB each, uploaded and described in turn',
    by: 'tenant',
    connections: 2,
    allowed: anyAnswer,
    prepare: (stage) => {
      const description = 'x'.repeat(largestBytes - 200_000)
      const requests = many(24, (version) => [
        stage.put(`long-${version}`, attackTask({ metadata: { description }, version })),
        stage.get(`/tasks/long-${version}`),
      ])
      return ask(...requests.flat())
    },
  },
  {
    name: 'many-labels',
    sends: 'files with 100,000 labels of 100 letters, and asks for their description',
    by: 'tenant',
    connections: 4,
    allowed: anyAnswer,
    prepare: (stage) => {
      const labels = many(100_000, (index) => `${'l'.repeat(100)}${index}`)
      return uploadAndDescribe(stage, attackTask({ labels, dense: 1 }))
    },
  },
  {
    name: 'many-tensors',
    sends: 'files with 150,000 empty tensors',
    by: 'tenant',
    connections: 4,
    allowed: anyAnswer,
    prepare: (stage) => uploadAndDescribe(stage, manyTensorsTask(150_000)),
  },
  {
    name: 'wrong-masks',
    sends: 'files with a mask of 16 million entries of a byte each',
    by: 'tenant',
    connections: 4,
    allowed: onlyRefused,
    prepare: (stage) => {
      const data = new Uint8Array(largestBytes).fill(1)
      const shapes = [
        [1, largestBytes],
        [largestBytes, 1],
      ]
      const files = shapes.map((shape) => maskTask({ dtype: 'BOOL', shape, data }))
      return ask(...files.map((file) => stage.put('mask', file)))
    },
  },
  {
    name: 'wide-files',
    sends: 'files whose head fills them, each another version',
    by: 'tenant',
    connections: 4,
    allowed: anyAnswer,
    prepare: (stage) => {
      const files = many(4, (version) => attackTask({ labels: widestHead, version }))
      return ask(...files.map((file) => stage.put('wide', file)))
    },
  },
  {
    name: 'no-files',
    sends: 'uploads of 16 MB that are no file of tensors',
    by: 'tenant',
    connections: 8,
    allowed: onlyRefused,
    prepare: (stage) => ask(stage.put('none', Buffer.alloc(largestBytes, 1))),
  },
  {
    name: 'churn',
    sends: 'uploads and removals of small tasks',
    by: 'tenant',
    connections: 16,
    allowed: anyAnswer,
    prepare: (stage) => {
      const requests = many(16, (version) => [
        stage.put(`churn-${version}`, attackTask({ version })),
        stage.request('DELETE', `/tasks/churn-${version}`),
      ])
      return ask(...requests.flat())
    },
  },
]
