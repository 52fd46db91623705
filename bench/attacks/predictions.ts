// Attacks by requests for predictions: much to tokenise, to compute, to answer or to load for few bytes.

import { gzipSync } from 'node:zlib'
import { type Attack, anyAnswer, ask, many, onlyRefused, unread } from './attack.js'
import type { Stage } from './stage.js'
import { attackTask, labelCounts, wideHeads } from './task-files.js'

const path = '/tasks/sst2/predict'
/** The default limit of a body, less what surrounds its texts. */
const bodyBytes = 1024 * 1024 - 1_000
const inputsLimit = 256

const words = (count: number) => many(count, (index) => `word${index % 100}`).join(' ')
const filled = (piece: string, bytes = bodyBytes) => piece.repeat(Math.floor(bytes / Buffer.byteLength(piece)))
const longTexts = many(inputsLimit, (index) => filled(`text ${index} `, 3_900))

/** Uploads tasks that only differ in their version. @returns their ids */
async function uploadMany(stage: Stage, count: number, shape: Parameters<typeof attackTask>[0]): Promise<string[]> {
  const ids = many(count, (index) => `many-${index}`)
  for (const [version, id] of ids.entries()) await stage.upload(id, attackTask({ ...shape, version }))
  return ids
}

/** The largest tasks that the server takes, more of them than fit into its memory. */
async function uploadLargeTasks(stage: Stage): Promise<string[]> {
  const labels = await stage.uploadLargest('large', wideHeads, (labels) => attackTask({ labels }))
  return uploadMany(stage, 48, { labels })
}

const textOf = (task: string) => ({ task, text: 'a' })

export const predictionAttacks: readonly Attack[] = [
  {
    name: 'wide-heads',
    sends: 'a text of 200 words to a token classification with as wide a head as fits a file',
    by: 'tenant',
    connections: 4,
    allowed: anyAnswer,
    prepare: async (stage) => {
      const shape = { problemType: 'token_classification' } as const
      await stage.uploadLargest('wide', wideHeads, (labels) => attackTask({ ...shape, labels }))
      return ask(stage.post('/tasks/wide/predict', { inputs: words(200), top_k: 1 }))
    },
  },
  {
    name: 'label-bomb',
    sends: 'a text of 50 words to a token classification with 100,000 labels, all of which are answered for each word',
    by: 'tenant',
    connections: 2,
    allowed: anyAnswer,
    prepare: async (stage) => {
      const shape = { problemType: 'token_classification', dense: 1 } as const
      await stage.uploadLargest('bomb', labelCounts, (labels) => attackTask({ ...shape, labels }))
      return ask(stage.post('/tasks/bomb/predict', { inputs: words(50) }))
    },
  },
  {
    name: 'ranked-labels',
    sends: '256 texts to a task of 100,000 labels, of which the best ten are asked for',
    by: 'tenant',
    connections: 4,
    allowed: anyAnswer,
    prepare: async (stage) => {
      await stage.uploadLargest('ranked', labelCounts, (labels) => attackTask({ labels, dense: 1 }))
      return ask(stage.post('/tasks/ranked/predict', { inputs: many(inputsLimit, () => 'a'), top_k: 10 }))
    },
  },
  {
    name: 'large-answers-unread',
    sends: '256 texts to a task of 3,000 labels, whose answers of some 40 MB nobody reads',
    by: 'tenant',
    connections: 32,
    allowed: anyAnswer,
    prepare: async (stage) => {
      const names = (count: number) => many(count, (index) => `a label of some length ${index}`)
      await stage.uploadLargest('answers', [3_000, 1_000, 300], (count) =>
        attackTask({ labels: names(count), dense: 1 }),
      )
      return unread(stage.post('/tasks/answers/predict', { inputs: many(inputsLimit, () => 'a') }))
    },
  },
  {
    name: 'huge-texts',
    sends: 'one text of 1 MB, of which the model reads 512 tokens',
    by: 'tenant',
    connections: 16,
    allowed: anyAnswer,
    prepare: (stage) => ask(stage.post(path, { inputs: filled('a b ') })),
  },
  {
    name: 'huge-words',
    sends: 'one word of 1 MB: of one letter, of ideographs, of combining marks, of emoji, of spaces and controls',
    by: 'tenant',
    connections: 8,
    allowed: anyAnswer,
    prepare: (stage) => {
      const texts = ['a', '\u6f22', 'a\u0301', '\u{1f600}', '\u200d\u00a0', '#'].map((piece) => filled(piece))
      return ask(...texts.map((text) => stage.post(path, { inputs: `a ${text}` })))
    },
  },
  {
    name: 'long-texts',
    sends: '256 texts of 3,900 characters a request',
    by: 'tenant',
    connections: 32,
    allowed: anyAnswer,
    prepare: (stage) => ask(stage.post(path, { inputs: longTexts, top_k: 1 })),
  },
  {
    name: 'short-texts',
    sends: '256 texts of one letter a request, from more connections than the queue has room for',
    by: 'tenant',
    connections: 64,
    allowed: anyAnswer,
    prepare: (stage) => ask(stage.post(path, { inputs: many(inputsLimit, () => 'a') })),
  },
  {
    name: 'lone-texts',
    sends: 'one text a request',
    by: 'tenant',
    connections: 64,
    allowed: anyAnswer,
    prepare: (stage) => ask(stage.post(path, { inputs: 'a text as anybody might send it' })),
  },
  {
    name: 'many-tasks',
    sends: 'texts of 150 tasks a request, of 300 tasks in all, which is more than the bank has slots',
    by: 'tenant',
    connections: 32,
    allowed: anyAnswer,
    prepare: async (stage) => {
      const ids = await uploadMany(stage, 300, {})
      const [first, second] = [ids.slice(0, 150), ids.slice(150)].map((half) => half.map(textOf))
      return ask(stage.post('/predict', { inputs: first }), stage.post('/predict', { inputs: second }))
    },
  },
  {
    name: 'many-large-tasks',
    sends: 'texts of 48 tasks of 16 MB a request',
    by: 'tenant',
    connections: 2,
    allowed: anyAnswer,
    prepare: async (stage) => {
      const ids = await uploadLargeTasks(stage)
      return ask(stage.post('/predict', { inputs: ids.map(textOf), top_k: 1 }))
    },
  },
  {
    name: 'large-tasks-in-turn',
    sends: 'one text a request to 48 tasks of 16 MB in turn, which the cache cannot hold',
    by: 'tenant',
    connections: 8,
    allowed: anyAnswer,
    prepare: async (stage) => {
      const ids = await uploadLargeTasks(stage)
      return ask(...ids.map((id) => stage.post('/predict', { inputs: [textOf(id)], top_k: 1 })))
    },
  },
  {
    name: 'embeddings',
    sends: '256 short texts a request to a feature extraction, which answers all dimensions of each',
    by: 'tenant',
    connections: 32,
    allowed: anyAnswer,
    prepare: async (stage) => {
      await stage.upload('embed', attackTask({ problemType: 'feature_extraction' }))
      return ask(stage.post('/tasks/embed/predict', { inputs: many(inputsLimit, (index) => `a ${index}`) }))
    },
  },
  {
    name: 'labelled-words',
    sends: '64 texts of 400 words a request to a token classification of nine labels',
    by: 'tenant',
    connections: 16,
    allowed: anyAnswer,
    prepare: async (stage) => {
      await stage.upload('words', attackTask({ problemType: 'token_classification', labels: 9 }))
      return ask(stage.post('/tasks/words/predict', { inputs: many(64, () => words(400)) }))
    },
  },
  {
    name: 'hopeless-deadlines',
    sends: '256 texts of 3,900 characters a request, to be answered within a millisecond or within 20',
    by: 'tenant',
    connections: 16,
    allowed: anyAnswer,
    prepare: (stage) =>
      ask(...['1', '20'].map((ms) => stage.post(path, { inputs: longTexts }, { 'x-request-timeout-ms': ms }))),
  },
  {
    name: 'missed-deadlines',
    sends: '24 texts a request to be answered within 1.5 s, more of them than can be',
    by: 'tenant',
    connections: 64,
    allowed: anyAnswer,
    prepare: (stage) => {
      const inputs = many(24, (index) => `who wrote the book of number ${index}`)
      return ask(stage.post('/tasks/trec/predict', { inputs, top_k: 1 }, { 'x-request-timeout-ms': '1500' }))
    },
  },
  {
    name: 'invalid-deadlines',
    sends: 'long texts with a deadline that is no number of milliseconds',
    by: 'tenant',
    connections: 16,
    allowed: onlyRefused,
    prepare: (stage) =>
      ask(
        ...['-1', '0', '1e9', 'soon'].map((ms) =>
          stage.post(path, { inputs: longTexts }, { 'x-request-timeout-ms': ms }),
        ),
      ),
  },
  {
    name: 'beyond-rates',
    sends: 'long texts beyond the rates of the tenant',
    by: 'limited',
    connections: 64,
    allowed: anyAnswer,
    prepare: (stage) => ask(stage.post(path, { inputs: longTexts })),
  },
  {
    name: 'wrong-inputs',
    sends: 'bodies of 1 MB that are JSON and no request: wrong values, unknown fields, blank texts, unknown tasks',
    by: 'tenant',
    connections: 16,
    allowed: onlyRefused,
    prepare: (stage) => {
      const unknownFields = Object.fromEntries(many(80_000, (index) => [`f${index}`, 0]))
      const unknownTasks = many(20_000, (index) => ({ task: `no-${index}`, text: 'a' }))
      return ask(
        stage.post(path, `{"inputs":[${filled('0,')}0]}`),
        stage.post(path, `{"inputs":[${filled('{},')}{}]}`),
        stage.post(path, `{"inputs":[${filled('"",')}""]}`),
        stage.post(path, { inputs: 'a', ...unknownFields }),
        stage.post('/predict', { inputs: unknownTasks }),
        stage.post(path, { inputs: [...longTexts.slice(1), ' '] }),
        stage.post(path, `{${filled('"inputs":"a",')}"inputs":"a"`),
      )
    },
  },
  {
    name: 'deep-json',
    sends: 'JSON of 400,000 arrays or objects within each other',
    by: 'tenant',
    connections: 16,
    allowed: onlyRefused,
    prepare: (stage) =>
      ask(
        stage.post(path, `{"inputs":${'['.repeat(400_000)}${']'.repeat(400_000)}}`),
        stage.post(path, `{"inputs":${'{"a":'.repeat(150_000)}0${'}'.repeat(150_000)}}`),
        stage.post(path, '['.repeat(1_000_000)),
      ),
  },
  {
    name: 'pipelined-texts',
    sends: 'one text a request, 500 requests at once on a connection',
    by: 'tenant',
    connections: 16,
    allowed: anyAnswer,
    prepare: (stage) => ({ kind: 'ask', requests: [stage.post(path, { inputs: 'a' })], atOnce: 500 }),
  },
  {
    name: 'pipelined-texts-unread',
    sends: '2,000 requests at once on a connection, whose answers nobody reads',
    by: 'tenant',
    connections: 32,
    allowed: anyAnswer,
    prepare: (stage) => unread(stage.post(path, { inputs: 'a' }), 2_000),
  },
  {
    name: 'bodies-held',
    sends: 'bodies of 1 MB but for their last byte',
    by: 'tenant',
    connections: 1_500,
    allowed: anyAnswer,
    prepare: (stage) => {
      const bytes = stage.post(path, { inputs: filled('a b ') }).subarray(0, -1)
      return { kind: 'hold', bytes, reads: true }
    },
  },
  {
    name: 'single-bytes',
    sends: 'bodies of 200 KB in chunks of one byte',
    by: 'tenant',
    connections: 16,
    allowed: anyAnswer,
    prepare: (stage) => {
      const body = JSON.stringify({ inputs: filled('a ', 200_000) })
      const chunks = `${[...body].map((byte) => `1\r\n${byte}\r\n`).join('')}0\r\n\r\n`
      const headers = { 'content-type': 'application/json', 'transfer-encoding': 'chunked' }
      return ask(stage.request('POST', path, { body: chunks, headers, contentLength: null }))
    },
  },
  {
    name: 'abandoned',
    sends: '256 long texts a request, and leaves before the answer',
    by: 'tenant',
    connections: 100,
    allowed: anyAnswer,
    prepare: (stage) => ({ kind: 'leave', requests: [stage.post(path, { inputs: longTexts })], afterMs: 50 }),
  },
  {
    name: 'gzip-bombs',
    sends: 'bodies of 200 KB that expand to 200 MB, to a prediction and as an upload',
    by: 'tenant',
    connections: 8,
    allowed: onlyRefused,
    prepare: (stage) => {
      const bomb = (before: string) => gzipSync(Buffer.concat([Buffer.from(before), Buffer.alloc(200_000_000, ' ')]))
      const encoded = (type: string) => ({ 'content-type': type, 'content-encoding': 'gzip' })
      return ask(
        stage.request('POST', path, { body: bomb('{"inputs":"a"}'), headers: encoded('application/json') }),
        stage.request('PUT', '/tasks/gz', { body: bomb(''), headers: encoded('application/octet-stream') }),
      )
    },
  },
]
