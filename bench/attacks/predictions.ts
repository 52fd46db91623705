// Attacks by prediction requests that are cheap to send and expensive to tokenise, compute, serialise or load.

import { gzipSync } from 'node:zlib'
import { type Attack, anyResponse, many, onlyRejected, send, unread } from './attack.js'
import type { AttackTarget } from './target.js'
import { attackTask, labelCounts, wideHeads } from './task-files.js'

const path = '/tasks/sst2/predict'
/** The default limit of a body, minus the JSON around its texts. */
const bodyBytes = 1024 * 1024 - 1_000
const inputsLimit = 256

const words = (count: number) => many(count, (index) => `word${index % 100}`).join(' ')
const filled = (piece: string, bytes = bodyBytes) => piece.repeat(Math.floor(bytes / Buffer.byteLength(piece)))
const longTexts = many(inputsLimit, (index) => filled(`text ${index} `, 3_900))

/** Uploads tasks that differ only in their version. @returns their ids */
async function uploadMany(
  target: AttackTarget,
  count: number,
  shape: Parameters<typeof attackTask>[0],
): Promise<string[]> {
  const ids = many(count, (index) => `many-${index}`)
  for (const [version, id] of ids.entries()) await target.upload(id, attackTask({ ...shape, version }))
  return ids
}

/** Uploads the largest tasks that the server accepts, more of them than fit into its memory. */
async function uploadLargeTasks(target: AttackTarget): Promise<string[]> {
  const labels = await target.uploadLargest('large', wideHeads, (labels) => attackTask({ labels }))
  return uploadMany(target, 48, { labels })
}

const textOf = (task: string) => ({ task, text: 'a' })

export const predictionAttacks: readonly Attack[] = [
  {
    name: 'wide-heads',
    sends: 'a text of 200 words to a token classification with the widest head that fits into a file',
    by: 'tenant',
    connections: 4,
    allowed: anyResponse,
    prepare: async (target) => {
      const shape = { problemType: 'token_classification' } as const
      await target.uploadLargest('wide', wideHeads, (labels) => attackTask({ ...shape, labels }))
      return send(target.post('/tasks/wide/predict', { inputs: words(200), top_k: 1 }))
    },
  },
  {
    name: 'label-bomb',
    sends: 'a text of 50 words to a token classification with 100,000 labels, with all scores of each word',
    by: 'tenant',
    connections: 2,
    allowed: anyResponse,
    prepare: async (target) => {
      const shape = { problemType: 'token_classification', dense: 1 } as const
      await target.uploadLargest('bomb', labelCounts, (labels) => attackTask({ ...shape, labels }))
      return send(target.post('/tasks/bomb/predict', { inputs: words(50) }))
    },
  },
  {
    name: 'ranked-labels',
    sends: '256 texts to a task with 100,000 labels, with the best ten labels of each',
    by: 'tenant',
    connections: 4,
    allowed: anyResponse,
    prepare: async (target) => {
      await target.uploadLargest('ranked', labelCounts, (labels) => attackTask({ labels, dense: 1 }))
      return send(target.post('/tasks/ranked/predict', { inputs: many(inputsLimit, () => 'a'), top_k: 10 }))
    },
  },
  {
    name: 'large-responses-unread',
    sends: '256 texts to a task with 3,000 labels, without reading the responses of about 40 MB',
    by: 'tenant',
    connections: 32,
    allowed: anyResponse,
    prepare: async (target) => {
      const names = (count: number) => many(count, (index) => `a label of some length ${index}`)
      await target.uploadLargest('responses', [3_000, 1_000, 300], (count) =>
        attackTask({ labels: names(count), dense: 1 }),
      )
      return unread(target.post('/tasks/responses/predict', { inputs: many(inputsLimit, () => 'a') }))
    },
  },
  {
    name: 'huge-texts',
    sends: 'one text of 1 MB, which is truncated to 512 tokens',
    by: 'tenant',
    connections: 16,
    allowed: anyResponse,
    prepare: (target) => send(target.post(path, { inputs: filled('a b ') })),
  },
  {
    name: 'huge-words',
    sends: 'one word of 1 MB of a single character: a letter, ideograph, combining mark, emoji, space or symbol',
    by: 'tenant',
    connections: 8,
    allowed: anyResponse,
    prepare: (target) => {
      const texts = ['a', '\u6f22', 'a\u0301', '\u{1f600}', '\u200d\u00a0', '#'].map((piece) => filled(piece))
      return send(...texts.map((text) => target.post(path, { inputs: `a ${text}` })))
    },
  },
  {
    name: 'long-texts',
    sends: '256 texts of 3,900 characters per request',
    by: 'tenant',
    connections: 32,
    allowed: anyResponse,
    prepare: (target) => send(target.post(path, { inputs: longTexts, top_k: 1 })),
  },
  {
    name: 'short-texts',
    sends: '256 texts of one letter per request, from more connections than the queue can hold',
    by: 'tenant',
    connections: 64,
    allowed: anyResponse,
    prepare: (target) => send(target.post(path, { inputs: many(inputsLimit, () => 'a') })),
  },
  {
    name: 'single-texts',
    sends: 'one text per request',
    by: 'tenant',
    connections: 64,
    allowed: anyResponse,
    prepare: (target) => send(target.post(path, { inputs: 'a text as anybody might send it' })),
  },
  {
    name: 'many-tasks',
    sends: 'texts of 150 tasks per request, of 300 tasks in total, which is more than the bank has slots',
    by: 'tenant',
    connections: 32,
    allowed: anyResponse,
    prepare: async (target) => {
      const ids = await uploadMany(target, 300, {})
      const [first, second] = [ids.slice(0, 150), ids.slice(150)].map((half) => half.map(textOf))
      return send(target.post('/predict', { inputs: first }), target.post('/predict', { inputs: second }))
    },
  },
  {
    name: 'many-large-tasks',
    sends: 'texts of 48 tasks of 16 MB per request',
    by: 'tenant',
    connections: 2,
    allowed: anyResponse,
    prepare: async (target) => {
      const ids = await uploadLargeTasks(target)
      return send(target.post('/predict', { inputs: ids.map(textOf), top_k: 1 }))
    },
  },
  {
    name: 'large-tasks-cycled',
    sends: 'one text per request, cycling through 48 tasks of 16 MB, which the cache cannot hold',
    by: 'tenant',
    connections: 8,
    allowed: anyResponse,
    prepare: async (target) => {
      const ids = await uploadLargeTasks(target)
      return send(...ids.map((id) => target.post('/predict', { inputs: [textOf(id)], top_k: 1 })))
    },
  },
  {
    name: 'embeddings',
    sends: '256 short texts per request to a feature extraction, which returns all dimensions of each',
    by: 'tenant',
    connections: 32,
    allowed: anyResponse,
    prepare: async (target) => {
      await target.upload('embed', attackTask({ problemType: 'feature_extraction' }))
      return send(target.post('/tasks/embed/predict', { inputs: many(inputsLimit, (index) => `a ${index}`) }))
    },
  },
  {
    name: 'labelled-words',
    sends: '64 texts of 400 words per request to a token classification with nine labels',
    by: 'tenant',
    connections: 16,
    allowed: anyResponse,
    prepare: async (target) => {
      await target.upload('words', attackTask({ problemType: 'token_classification', labels: 9 }))
      return send(target.post('/tasks/words/predict', { inputs: many(64, () => words(400)) }))
    },
  },
  {
    name: 'impossible-deadlines',
    sends: '256 texts of 3,900 characters per request, with a timeout of 1 ms or 20 ms',
    by: 'tenant',
    connections: 16,
    allowed: anyResponse,
    prepare: (target) =>
      send(...['1', '20'].map((ms) => target.post(path, { inputs: longTexts }, { 'x-request-timeout-ms': ms }))),
  },
  {
    name: 'missed-deadlines',
    sends: '24 texts per request with a timeout of 1.5 s, more than the server can serve in time',
    by: 'tenant',
    connections: 64,
    allowed: anyResponse,
    prepare: (target) => {
      const inputs = many(24, (index) => `who wrote the book of number ${index}`)
      return send(target.post('/tasks/trec/predict', { inputs, top_k: 1 }, { 'x-request-timeout-ms': '1500' }))
    },
  },
  {
    name: 'invalid-deadlines',
    sends: 'long texts with an invalid timeout',
    by: 'tenant',
    connections: 16,
    allowed: onlyRejected,
    prepare: (target) =>
      send(
        ...['-1', '0', '1e9', 'soon'].map((ms) =>
          target.post(path, { inputs: longTexts }, { 'x-request-timeout-ms': ms }),
        ),
      ),
  },
  {
    name: 'above-rate-limits',
    sends: 'long texts above the rate limits of the tenant',
    by: 'limited',
    connections: 64,
    allowed: anyResponse,
    prepare: (target) => send(target.post(path, { inputs: longTexts })),
  },
  {
    name: 'invalid-inputs',
    sends: 'JSON bodies of 1 MB that are invalid requests: wrong types, unknown fields, blank texts, unknown tasks',
    by: 'tenant',
    connections: 16,
    allowed: onlyRejected,
    prepare: (target) => {
      const unknownFields = Object.fromEntries(many(80_000, (index) => [`f${index}`, 0]))
      const unknownTasks = many(20_000, (index) => ({ task: `no-${index}`, text: 'a' }))
      return send(
        target.post(path, `{"inputs":[${filled('0,')}0]}`),
        target.post(path, `{"inputs":[${filled('{},')}{}]}`),
        target.post(path, `{"inputs":[${filled('"",')}""]}`),
        target.post(path, { inputs: 'a', ...unknownFields }),
        target.post('/predict', { inputs: unknownTasks }),
        target.post(path, { inputs: [...longTexts.slice(1), ' '] }),
        target.post(path, `{${filled('"inputs":"a",')}"inputs":"a"`),
      )
    },
  },
  {
    name: 'deep-json',
    sends: 'JSON with 400,000 nested arrays or objects',
    by: 'tenant',
    connections: 16,
    allowed: onlyRejected,
    prepare: (target) =>
      send(
        target.post(path, `{"inputs":${'['.repeat(400_000)}${']'.repeat(400_000)}}`),
        target.post(path, `{"inputs":${'{"a":'.repeat(150_000)}0${'}'.repeat(150_000)}}`),
        target.post(path, '['.repeat(1_000_000)),
      ),
  },
  {
    name: 'pipelined-texts',
    sends: 'one text per request, 500 requests at once on a connection',
    by: 'tenant',
    connections: 16,
    allowed: anyResponse,
    prepare: (target) => ({ kind: 'send', requests: [target.post(path, { inputs: 'a' })], atOnce: 500 }),
  },
  {
    name: 'pipelined-texts-unread',
    sends: '2,000 requests at once on a connection, without reading the responses',
    by: 'tenant',
    connections: 32,
    allowed: anyResponse,
    prepare: (target) => unread(target.post(path, { inputs: 'a' }), 2_000),
  },
  {
    name: 'bodies-held',
    sends: 'bodies of 1 MB without their last byte',
    by: 'tenant',
    connections: 1_500,
    allowed: anyResponse,
    prepare: (target) => {
      const bytes = target.post(path, { inputs: filled('a b ') }).subarray(0, -1)
      return { kind: 'hold', bytes, reads: true }
    },
  },
  {
    name: 'single-bytes',
    sends: 'bodies of 200 KB in chunks of one byte',
    by: 'tenant',
    connections: 16,
    allowed: anyResponse,
    prepare: (target) => {
      const body = JSON.stringify({ inputs: filled('a ', 200_000) })
      const chunks = `${[...body].map((byte) => `1\r\n${byte}\r\n`).join('')}0\r\n\r\n`
      const headers = { 'content-type': 'application/json', 'transfer-encoding': 'chunked' }
      return send(target.request('POST', path, { body: chunks, headers, contentLength: null }))
    },
  },
  {
    name: 'abandoned',
    sends: '256 long texts per request, and disconnects before the response',
    by: 'tenant',
    connections: 100,
    allowed: anyResponse,
    prepare: (target) => ({ kind: 'abort', requests: [target.post(path, { inputs: longTexts })], afterMs: 50 }),
  },
  {
    name: 'gzip-bombs',
    sends: 'gzip bodies of 200 KB that expand to 200 MB, as a prediction and as an upload',
    by: 'tenant',
    connections: 8,
    allowed: onlyRejected,
    prepare: (target) => {
      const bomb = (start: string) => gzipSync(Buffer.concat([Buffer.from(start), Buffer.alloc(200_000_000, ' ')]))
      const encoded = (type: string) => ({ 'content-type': type, 'content-encoding': 'gzip' })
      return send(
        target.request('POST', path, { body: bomb('{"inputs":"a"}'), headers: encoded('application/json') }),
        target.request('PUT', '/tasks/gz', { body: bomb(''), headers: encoded('application/octet-stream') }),
      )
    },
  },
]
