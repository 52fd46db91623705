// Examples over HTTP: files of every format, pages, corrections and feedback.

import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { keyClient, newTenant, operatorKey, type Running, startRunning, upload } from './running.js'

interface Posted {
  readonly added: number
  readonly replaced: number
  readonly unchanged: number
  readonly total: number
  readonly dry_run: boolean
  readonly skipped: readonly { reason: string; count: number; first_place: string }[]
  readonly report: {
    readonly format: string
    readonly columns: object
    readonly names: readonly string[]
    readonly rows: number
    readonly problem_type: string | null
    readonly labels: readonly { label: string; count: number }[]
    readonly warnings: readonly string[]
    readonly sample?: readonly object[]
  }
}
interface Listed {
  readonly total: number
  readonly labels: readonly { label: string; count: number }[]
  readonly labels_complete: boolean
  readonly examples: readonly (Record<string, unknown> & { id: string })[]
  readonly next: string | null
}

let running: Running
let app: FastifyInstance
before(async () => {
  running = await startRunning({ maxExamplesBytes: '4000000' })
  app = running.app
})

const post = (id: string, body: string | Buffer | object, headers: Record<string, string> = {}, query = '') =>
  app.inject({
    method: 'POST',
    url: `/tasks/${id}/examples${query}`,
    headers: {
      ...(typeof body === 'object' && !Buffer.isBuffer(body) && { 'content-type': 'application/json' }),
      ...headers,
    },
    body: typeof body === 'object' && !Buffer.isBuffer(body) ? JSON.stringify(body) : body,
  })
const list = async (id: string, query = ''): Promise<Listed> => {
  const response = await app.inject({ url: `/tasks/${id}/examples${query}` })
  assert.equal(response.statusCode, 200, response.body)
  return response.json<Listed>()
}
const csv = { 'content-type': 'text/csv' }
const counts = ({ added, replaced, unchanged, total }: Posted) => [added, replaced, unchanged, total]

/** Files are removed after the response. */
async function noFilesLeft({ server }: Running): Promise<void> {
  const { path, files } = server.services.uploads
  for (let tries = 0; (await readdir(path)).length > 0 && tries < 200; tries++) await delay(10)
  assert.deepEqual([await readdir(path), files.held], [[], 0])
}

describe('a file of examples', () => {
  test('is stored, and what was found in it is reported', async () => {
    const response = await post('csv', 'Text;Label\ngood;pos\nbad;neg\n;neg\nfine;pos\n', csv)
    assert.equal(response.statusCode, 200, response.body)
    const posted = response.json<Posted>()
    assert.deepEqual(counts(posted), [3, 0, 0, 3])
    assert.deepEqual(posted.skipped, [{ reason: 'column "Text" is empty', count: 1, first_place: 'the body:4' }])
    const { format, columns, names, rows, problem_type, labels } = posted.report
    assert.equal(format, 'text separated by semicolons, UTF-8')
    assert.deepEqual(columns, { text: 'Text', label: 'Label' })
    assert.deepEqual([names, rows, problem_type], [['Text', 'Label'], 4, 'single_label_classification'])
    assert.deepEqual(labels, [
      { label: 'pos', count: 2 },
      { label: 'neg', count: 1 },
    ])
    assert.equal(posted.report.sample, undefined)
    const again = (await post('csv', 'text,label\ngood,pos\nbad,pos\nnew,pos\n', csv)).json<Posted>()
    assert.deepEqual(counts(again), [1, 1, 1, 4])
  })

  test('can have every format, by its content type or its name', async () => {
    const named = (name: string) => ({
      'content-type': 'application/octet-stream',
      'content-disposition': `attachment; filename="${name}"`,
    })
    const bodies: readonly [body: string | object, headers: Record<string, string>, type: string][] = [
      [
        [
          { text: 'a', label: 1 },
          { text: 'b', label: 2.5 },
        ],
        {},
        'regression',
      ],
      [[{ tokens: ['a', 'b'], tags: ['O', 'B-X'] }], {}, 'token_classification'],
      [[{ text: 'a', text_pair: 'b', label: 'x' }], {}, 'single_label_classification'],
      [
        '{"text":"a","label":["x","y"]}\n{"text":"b","label":[]}',
        { 'content-type': 'application/x-ndjson' },
        'multi_label_classification',
      ],
      ['text\tlabel\na\tx\n', { 'content-type': 'text/tab-separated-values' }, 'single_label_classification'],
      ['EU B-ORG\nrejects O\n\ncall O\n', { 'content-type': 'text/plain; charset=utf-8' }, 'token_classification'],
      ['text,label\na,x\n', named('C:\\data\\My file.CSV'), 'single_label_classification'],
      [
        '{"text":"a","label":"x"}',
        { 'content-disposition': "attachment; filename*=UTF-8''%e2%82%ac.jsonl" },
        'single_label_classification',
      ],
    ]
    for (const [at, [body, headers, type]] of bodies.entries()) {
      const response = await post(`format-${at}`, body, headers)
      assert.equal(response.statusCode, 200, response.body)
      assert.equal(response.json<Posted>().report.problem_type, type)
    }
    const { examples } = await list('format-1')
    assert.deepEqual(
      [examples[0]?.tokens, examples[0]?.tags],
      [
        ['a', 'b'],
        ['O', 'B-X'],
      ],
    )
  })

  test('is checked completely before anything is stored, with the name that the client knows', async () => {
    const rows = Array.from({ length: 2_000 }, (_, i) => `text ${i},a`).join('\n')
    const name = { ...csv, 'content-disposition': 'attachment; filename="train.csv"' }
    const long = await post('invalid', `text,label\n${rows}\nx,a,b,c\n`, name)
    assert.deepEqual([long.statusCode, long.json<{ code: string }>().code], [422, 'invalid_data'])
    assert.match(long.json<{ detail: string }>().detail, /^train\.csv:2002: the row has 4 fields/)
    const column = await post('invalid', 'content,label\na,b\n', csv)
    assert.match(column.json<{ detail: string }>().detail, /^the body: there is no column "text".*with text_column$/)
    assert.equal((await post('invalid', '[1]', { 'content-type': 'application/json' })).statusCode, 422)
    assert.equal((await post('invalid', '', csv)).statusCode, 422)
    assert.equal((await app.inject({ url: '/tasks/invalid/examples' })).statusCode, 404)
    const found = await post('invalid', 'content,topic\na,b\n', csv, '?text_column=content&label_column=topic')
    assert.equal(found.statusCode, 200, found.body)
  })

  test('is only compared in a dry run', async () => {
    await post('dry', [
      { text: 'a', label: 'x' },
      { text: 'b', label: 'x' },
    ])
    const body = [
      { text: 'a', label: 'x' },
      { text: 'b', label: 'y' },
      { text: 'c', label: 'y' },
      { text: 'c', label: 'y' },
      { text: 'c', label: 'z' },
    ]
    const posted = (await post('dry', body, {}, '?dry_run=true')).json<Posted>()
    assert.deepEqual([counts(posted), posted.dry_run], [[1, 2, 2, 2], true])
    assert.deepEqual(posted.report.sample?.[1], body[1])
    assert.match(posted.report.warnings.join(), /repeated texts have another label/)
    assert.equal((await list('dry')).total, 2)
    assert.equal((await post('new', body, {}, '?dry_run=true')).statusCode, 200)
    assert.equal((await app.inject({ url: '/tasks/new/examples' })).statusCode, 404)
  })

  test('is rejected with the usual problems', async () => {
    const statusOf = async (...given: Parameters<typeof post>) => {
      const response = await post(...given)
      return [response.statusCode, response.json<{ code: string }>().code]
    }
    assert.deepEqual(await statusOf('a', 'x', { 'content-type': 'application/pdf' }), [415, 'unsupported_media_type'])
    assert.deepEqual(await statusOf('a', 'x', {}), [415, 'unsupported_media_type'])
    assert.deepEqual(await statusOf('a', 'x', { ...csv, 'content-encoding': 'gzip' }), [415, 'unsupported_media_type'])
    assert.deepEqual(await statusOf('a', Buffer.alloc(4_000_001), csv), [413, 'body_too_large'])
    assert.deepEqual(await statusOf('sst2', 'text,label\na,b\n', csv), [409, 'task_read_only'])
    assert.deepEqual(await statusOf('UPPER', 'text,label\na,b\n', csv), [400, 'invalid_task_id'])
    assert.deepEqual(await statusOf('a', 'text,label\na,b\n', csv, '?problem_type=x'), [400, 'invalid_request'])
    assert.deepEqual(await statusOf('a', 'text,label\na,b\n', csv, '?unknown=x'), [400, 'invalid_request'])
    await noFilesLeft(running)
  })
})

describe('the examples of a task', () => {
  test('are listed in pages, filtered, corrected and deleted', async () => {
    await post(
      'list',
      Array.from({ length: 250 }, (_, i) => ({ text: `Text ${i}`, label: i % 25 === 0 ? 'rare' : 'usual' })),
    )
    const first = await list('list')
    assert.deepEqual([first.total, first.examples.length, first.labels_complete], [250, 100, true])
    assert.deepEqual(first.labels, [
      { label: 'usual', count: 240 },
      { label: 'rare', count: 10 },
    ])
    const ids = [...first.examples]
    for (let { next } = first; next !== null; ) {
      const page = await list('list', `?after=${next}`)
      ids.push(...page.examples)
      next = page.next
    }
    assert.equal(new Set(ids.map(({ id }) => id)).size, 250)
    const rare = await list('list', '?label=rare&search=TEXT%202')
    assert.deepEqual(rare.examples.map(({ text }) => text).toSorted(), ['Text 200', 'Text 225', 'Text 25'])
    const { id = '' } = rare.examples[0] ?? {}
    const url = `/tasks/list/examples/${id}`
    const patched = await app.inject({ method: 'PATCH', url, body: { label: 'corrected' } })
    assert.equal(patched.statusCode, 200, patched.body)
    assert.deepEqual((await app.inject({ url })).json(), patched.json())
    const wrong = await app.inject({ method: 'PATCH', url, body: { tags: ['x'] } })
    assert.deepEqual([wrong.statusCode, wrong.json<{ code: string }>().code], [422, 'invalid_data'])
    assert.equal((await app.inject({ method: 'DELETE', url })).statusCode, 204)
    assert.equal((await app.inject({ url })).statusCode, 404)
    assert.equal(
      (await app.inject({ url: '/tasks/list/examples/zz' })).json<{ code: string }>().code,
      'unknown_example',
    )
    assert.equal((await list('list')).total, 249)
    assert.equal((await app.inject({ method: 'DELETE', url: '/tasks/list/examples' })).statusCode, 204)
    assert.equal((await app.inject({ url: '/tasks/list/examples' })).statusCode, 404)
    const actions = running.log.filter(({ audit, object }) => audit && object === 'list')
    assert.deepEqual(
      actions.map(({ action, after, before }) => [action, after ?? before]),
      [
        ['examples.put', { added: 250, replaced: 0, unchanged: 0 }],
        ['example.patch', { example: id }],
        ['examples.delete', { example: id }],
        ['examples.delete', { examples: 249 }],
      ],
    )
  })

  test('make a draft, which is listed and deleted like a task', async () => {
    await post('draft', [{ text: 'a', label: 'x' }])
    const draft = await app.inject({ url: '/tasks/draft' })
    assert.deepEqual([draft.statusCode, draft.json<{ code: string }>().code], [409, 'no_version'])
    const predicted = await app.inject({ method: 'POST', url: '/tasks/draft/predict', body: { inputs: ['a'] } })
    assert.equal(predicted.json<{ code: string }>().code, 'no_version')
    const { tasks } = (await app.inject({ url: '/tasks?search=RAF' })).json<{ tasks: object[] }>()
    assert.deepEqual(tasks, [{ id: 'draft', version: null, origin: 'draft', examples: 1 }])
    await upload(app, 'draft')
    assert.equal((await app.inject({ url: '/tasks/draft' })).statusCode, 200)
    const after = (await app.inject({ url: '/tasks?search=draft' })).json<{
      tasks: { origin: string; examples: number }[]
    }>()
    assert.deepEqual([after.tasks[0]?.origin, after.tasks[0]?.examples], ['uploaded', 1])
    assert.equal((await app.inject({ method: 'DELETE', url: '/tasks/draft' })).statusCode, 204)
    assert.equal((await app.inject({ url: '/tasks/draft/examples' })).statusCode, 404)
    await post('draft-2', [{ text: 'a', label: 'x' }])
    assert.equal((await app.inject({ method: 'DELETE', url: '/tasks/draft-2' })).statusCode, 204)
    assert.equal((await app.inject({ url: '/tasks/draft-2' })).json<{ code: string }>().code, 'unknown_task')
  })
})

describe('feedback', () => {
  test('is an example with the earlier prediction', async () => {
    await upload(app, 'feedback')
    const send = (body: object, id = 'feedback') => app.inject({ method: 'POST', url: `/tasks/${id}/feedback`, body })
    const predicted = { label: 'pos', score: 0.9, version: 'abc' }
    const response = await send({ text: 'so bad', label: ' neg ', predicted })
    assert.equal(response.statusCode, 200, response.body)
    const { id, created, updated, ...example } = response.json<Record<string, unknown>>()
    assert.deepEqual(example, { text: 'so bad', label: 'neg', by: 'operator', source: 'feedback', predicted })
    const { examples } = await list('feedback')
    assert.deepEqual(examples, [{ id, created, updated, ...example }])
    for (const [body, code] of [
      [{ text: ' ', label: 'x' }, 'empty_text'],
      [{ text: 'a' }, 'invalid_data'],
      [{ text: 'a', label: 'null' }, 'invalid_data'],
      [{ text: 'a', label: '["x"]' }, 'invalid_data'],
      [{ label: 'a' }, 'invalid_request'],
      [{ request_id: 'a', label: 'x' }, 'unknown_request'],
      [{ tokens: ['a'], tags: ['x', 'y'] }, 'invalid_data'],
      [{ text: 'a', spans: [{ start: 0, end: 2, label: 'x' }] }, 'invalid_data'],
    ] as const)
      assert.equal((await send(body)).json<{ code: string }>().code, code, JSON.stringify(body))
    assert.equal((await send({ text: 'a', label: 'x' }, 'missing')).json<{ code: string }>().code, 'unknown_task')
    assert.equal((await send({ tokens: ['a', 'b'], tags: ['O', 'X'] })).statusCode, 200)
    assert.equal((await send({ text: 'Ann left', spans: [{ start: 0, end: 3, label: 'PER' }] })).statusCode, 200)
  })
})

describe('examples of tenants', () => {
  test('are separate, and count in the quotas before anything is stored', async () => {
    const keyed = await startRunning({ operatorKey })
    const acme = await newTenant(keyed.app, 'acme', { limits: { examples: 3, tasks: 1 } })
    const other = await newTenant(keyed.app, 'globex')
    const rows = (count: number) => Array.from({ length: count }, (_, i) => ({ text: `text ${i}`, label: 'x' }))
    assert.equal((await acme('POST', '/tasks/t/examples', rows(2))).statusCode, 200)
    const over = await acme('POST', '/tasks/t/examples', rows(4))
    assert.deepEqual([over.statusCode, over.json<{ quota: string }>().quota], [403, 'examples'])
    assert.equal((await acme('GET', '/tasks/t/examples')).json<Listed>().total, 2)
    assert.equal((await acme('POST', '/tasks/t/examples', rows(3))).statusCode, 200)
    assert.equal((await acme('POST', '/tasks/u/examples', rows(1))).json<{ quota: string }>().quota, 'tasks')
    for (const url of ['/tasks/t/examples', '/tasks/t'])
      assert.equal((await other('GET', url)).json<{ code: string }>().code, 'unknown_task')
    const operator = keyClient(keyed.app, operatorKey)
    assert.equal((await operator('GET', '/tasks/t/examples')).statusCode, 404)
    const described = (await acme('GET', '/tenants/acme')).json<{ usage: { examples: number; tasks: number } }>()
    assert.deepEqual([described.usage.examples, described.usage.tasks], [3, 1])
    assert.equal(
      (await other('GET', '/tasks')).json<{ tasks: { id: string }[] }>().tasks.some(({ id }) => id === 't'),
      false,
    )
  })
})
