// Usual mistakes of newcomers over HTTP. The response to each must name the cause and the remedy.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import type { InjectOptions } from 'fastify'
import { changedTask, root, taskBytes } from '../material.js'
import { keyClient, newTenant, operatorKey, type Running, startRunning } from './running.js'

let open: Running
let keyed: Running
let tenantKey: string
before(async () => {
  open = await startRunning({ maxInputs: '40' })
  keyed = await startRunning({ operatorKey })
  await newTenant(keyed.app, 'shop')
  const made = await keyClient(keyed.app, operatorKey)('POST', '/tenants/shop/keys', {})
  tenantKey = made.json<{ key: string }>().key
})

describe('a mistake over HTTP', () => {
  const json = { 'content-type': 'application/json' }
  const predict = (payload: object | string, headers: object = json): InjectOptions => ({
    method: 'POST',
    url: '/tasks/sst2/predict',
    headers: { ...headers },
    payload,
  })
  const predictMany = (payload: object): InjectOptions => ({ method: 'POST', url: '/predict', headers: json, payload })
  const upload = (payload: Buffer | string, id = 'mine', type = 'application/octet-stream'): InjectOptions => ({
    method: 'PUT',
    url: `/tasks/${id}`,
    headers: { 'content-type': type },
    payload,
  })
  const withHeaders = (headers: Record<string, string>): InjectOptions => ({ url: '/tasks/sst2', headers })
  const multipart = (disposition: string): InjectOptions => ({
    method: 'POST',
    url: '/tasks',
    headers: { 'content-type': 'multipart/form-data; boundary=x' },
    payload: `--x\r\ncontent-disposition: form-data; ${disposition}\r\n\r\na\r\n--x--\r\n`,
  })
  const curlType = 'application/x-www-form-urlencoded'
  const otherPrototype = changedTask(taskBytes('sst2'), { metadata: { prototype: 'b'.repeat(64) } })
  const zip = Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(100, 7)])
  const pickle = Buffer.concat([Buffer.from('\x80\x04\x95', 'latin1'), Buffer.alloc(100, 7)])

  // What the user does; the request; the status; what the detail says: the cause, then the remedy.
  type Mistake = readonly [mistake: string, request: InjectOptions, status: number, detail: RegExp]
  const predictions: readonly Mistake[] = [
    [
      'sends "text"',
      predict({ text: 'a' }),
      400,
      /body\/text is not a known field; the known fields are inputs, top_k/,
    ],
    ['sends a list as the body', predict(['a']), 400, /body must be an object, but is an array/],
    ['sends {}', predict({}), 400, /body must have "inputs"/],
    [
      'sends null as inputs',
      predict({ inputs: null }),
      400,
      /inputs must be a string, an object or an array, but is null/,
    ],
    ['sends no inputs', predict({ inputs: [] }), 400, /body\/inputs must not be empty/],
    ['sends an empty text', predict({ inputs: ['a', ''] }), 422, /inputs\[1\]: text is empty .*; send a text/],
    [
      'sends a pair as a list',
      predict({ inputs: [['a', 'b']] }),
      400,
      /inputs\/0 must be a string or an object, but is an array/,
    ],
    [
      'misspells text_pair',
      predict({ inputs: [{ text: 'a', textPair: 'b' }] }),
      400,
      /textPair is not a known field; the known fields are text, text_pair/,
    ],
    [
      'sends too many inputs',
      predict({ inputs: Array(41).fill('a') }),
      422,
      /has 41 inputs; send at most 40, in several requests/,
    ],
    [
      'quotes top_k',
      predict({ inputs: 'a', top_k: '1' }),
      400,
      /body\/top_k must be an integer, but is the string "1"/,
    ],
    ['sends top_k 0', predict({ inputs: 'a', top_k: 0 }), 400, /body\/top_k must be >= 1/],
    ['sends threshold 1', predict({ inputs: 'a', threshold: 1 }), 400, /body\/threshold must be < 1/],
    [
      'sends a threshold to a single-label task',
      predict({ inputs: 'a', threshold: 0.5 }),
      422,
      /threshold is only for multi_label_classification; remove it: "sst2" is a single_label_classification/,
    ],
    [
      'sends a long text with truncate false',
      predict({ inputs: 'a '.repeat(600), truncate: false }),
      422,
      /602 tokens .*; task "sst2" reads at most 512\. Send a shorter text, or set truncate to true/,
    ],
    [
      'names the task beside the inputs',
      predictMany({ task: 'sst2', inputs: ['a'] }),
      400,
      /inputs\/0 must be an object, but is the string "a"/,
    ],
    ['forgets the task of an input', predictMany({ inputs: [{ text: 'a' }] }), 400, /body\/inputs\/0 must have "task"/],
    [
      'sends options in the query',
      { ...predict({ inputs: 'a' }), url: '/tasks/sst2/predict?top_k=1' },
      400,
      /query\/top_k is not a known field; the known fields are version/,
    ],
    [
      'sends a timeout in seconds',
      predict({ inputs: 'a' }, { ...json, 'x-request-timeout-ms': '0.5' }),
      400,
      /headers\/x-request-timeout-ms must be a whole number of milliseconds/,
    ],
  ]
  const bodies: readonly Mistake[] = [
    [
      'leaves a comma too many',
      predict('{"inputs": "a",}'),
      400,
      /not JSON: .*position 15.*; remove the comma before it/,
    ],
    ['uses single quotes', predict("{'inputs': 'a'}"), 400, /not JSON: .*position 1.*; use double quotes/],
    [
      'loses the quotes in the shell',
      predict('{inputs: a}'),
      400,
      /not JSON: .*position 1.*; put the name in double quotes/,
    ],
    ['cuts the body', predict('{"inputs": "a"'), 400, /not JSON: .*position 14/],
    ['sends an empty body', predict(''), 400, /the body is empty; expected JSON/],
    ['sends no body', { method: 'POST', url: '/tasks/sst2/predict' }, 400, /body must be an object, but is missing/],
    [
      'saves JSON as UTF-16',
      predict(Buffer.from('{"inputs":"a"}', 'utf16le') as unknown as string),
      400,
      /not JSON: .*; encode JSON in UTF-8, not UTF-16/s,
    ],
    [
      'sends plain text',
      predict('a', { 'content-type': 'text/plain' }),
      415,
      /content type is "text\/plain"; expected application\/json/,
    ],
    [
      'forgets the content type',
      predict(Buffer.from('{"inputs":"a"}') as unknown as string, {}),
      415,
      /no content type; expected application\/json/,
    ],
    [
      'forgets the content type with curl -d',
      predict('{"inputs":"a"}', { 'content-type': curlType }),
      415,
      /curl needs the option -H "content-type: application\/json"/,
    ],
    [
      'compresses the body',
      predict(gzipSync('{"inputs":"a"}') as unknown as string, { ...json, 'content-encoding': 'gzip' }),
      415,
      /content encoding is "gzip"; send the body without compression/,
    ],
  ]
  const addresses: readonly Mistake[] = [
    [
      'misspells a task',
      { ...predict({ inputs: 'a' }), url: '/tasks/sst-2/predict' },
      404,
      /no task "sst-2"; did you mean "sst2"\?/,
    ],
    [
      'names a task that does not exist',
      { ...predict({ inputs: 'a' }), url: '/tasks/nope/predict' },
      404,
      /no task "nope"; GET \/tasks lists the tasks/,
    ],
    [
      'writes an id in upper case',
      { url: '/tasks/SST2' },
      400,
      /"SST2" is not a valid task id; .*did you mean "sst2"\?/,
    ],
    [
      'leaves the id empty',
      { ...predict({ inputs: 'a' }), url: '/tasks//predict' },
      400,
      /task id is empty; GET \/tasks lists the tasks/,
    ],
    ['adds a slash', { url: '/tasks/sst2/' }, 404, /no route GET \/tasks\/sst2\/; remove the slash at its end/],
    ['adds a slash to /tasks', { url: '/tasks/' }, 400, /task id is empty; GET \/tasks lists the tasks/],
    ['guesses a version prefix', { url: '/v1/tasks' }, 404, /no route GET \/v1\/tasks; GET \/ lists the entry points/],
    ['guesses /health', { url: '/health' }, 404, /no route GET \/health; GET \/ lists the entry points/],
    [
      'predicts with GET',
      { method: 'GET', url: '/tasks/sst2/predict', payload: '{"inputs":"a"}' },
      405,
      /does not support GET; use POST/,
    ],
    [
      'uploads with POST',
      { method: 'POST', url: '/tasks/mine', payload: 'a' },
      405,
      /does not support POST; use DELETE, GET, HEAD, PUT/,
    ],
    [
      'misspells a query parameter',
      { url: '/tasks?limits=5' },
      400,
      /query\/limits is not a known field; the known fields are after, limit/,
    ],
    ['asks for too long a page', { url: '/tasks?limit=5000' }, 400, /query\/limit must be <= 1000/],
    [
      'forgets the quotes of an ETag',
      withHeaders({ 'if-none-match': 'abc' }),
      400,
      /if-none-match must be \* or ETags in double quotes, such as "v1"/,
    ],
    [
      'uses another host name without API keys',
      withHeaders({ host: 'tasks.example' }),
      403,
      /accepts only localhost or an IP address .*, not "tasks\.example"; create an API key, or see --insecure/,
    ],
    [
      'calls from a web page',
      withHeaders({ origin: 'https://app.example' }),
      403,
      /pages of "https:\/\/app\.example" may not call this server; allow their origin with --cors-origins/,
    ],
  ]
  const uploads: readonly Mistake[] = [
    ['uploads a CSV file', upload('text,label\na,b\n'), 400, /begins with "text,label".*propetl learn/],
    ['uploads an error page', upload('<!doctype html><title>404</title>'), 400, /begins with "<!doctype html>/],
    [
      'uploads a Git LFS pointer',
      upload('version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5000\n'),
      400,
      /Git LFS pointer/,
    ],
    ['uploads a zip archive', upload(zip), 400, /zip archive/],
    ['uploads a pickle', upload(pickle), 400, /safetensors|pickle/],
    ['uploads a compressed file', upload(gzipSync('a'.repeat(10_000))), 400, /gzip/],
    ['uploads an empty file', upload(Buffer.alloc(0)), 400, /empty|0 bytes/],
    ['uploads a truncated file', upload(taskBytes('sst2').subarray(0, 5_000)), 400, /bytes/],
    ['uploads a task of another prototype', upload(Buffer.from(otherPrototype)), 409, /prototype/],
    [
      'replaces a bundled task',
      upload(taskBytes('sst2'), 'sst2'),
      409,
      /"sst2" is bundled with the server and read-only; choose another id/,
    ],
    [
      'deletes a bundled task',
      { method: 'DELETE', url: '/tasks/sst2' },
      409,
      /"sst2" is bundled with the server and read-only/,
    ],
    [
      'sends a form with PUT',
      upload('a', 'mine', 'multipart/form-data; boundary=x'),
      415,
      /expected application\/octet-stream with a task file; send forms to POST \/tasks/,
    ],
    [
      'sends a bare file with POST',
      {
        method: 'POST',
        url: '/tasks',
        headers: { 'content-type': 'application/octet-stream' },
        payload: taskBytes('sst2'),
      },
      415,
      /expected multipart\/form-data with a task file; send a bare file to PUT \/tasks\/<id>/,
    ],
    [
      'names the file of a form differently',
      multipart('name="task"; filename="a.safetensors"'),
      400,
      /a file "task"; expected one file named "file"/,
    ],
    [
      'sends the text of a file in a form',
      multipart('name="file"'),
      400,
      /a field "file" without a filename; expected one file named "file"/,
    ],
  ]
  for (const [group, mistakes] of Object.entries({ predictions, bodies, addresses, uploads }))
    describe(`of ${group}`, () => {
      for (const [mistake, request, status, detail] of mistakes)
        test(`has a response with the cause and the remedy: the user ${mistake}`, async () => {
          const response = await open.app.inject(request)
          assert.equal(response.statusCode, status, response.body)
          assert.match(response.json<{ detail: string }>().detail, detail)
        })
    })

  type KeyedMistake = readonly [mistake: string, authorization: () => string | undefined, InjectOptions, number, RegExp]
  const operator = () => `Bearer ${operatorKey}`
  const tenant = () => `Bearer ${tenantKey}`
  const put = (url: string, payload: object): InjectOptions => ({ method: 'PUT', url, payload })
  const newKey = (payload: object): InjectOptions => ({ method: 'POST', url: '/tenants/shop/keys', payload })
  const keyedMistakes: readonly KeyedMistake[] = [
    ['sends no API key', () => undefined, { url: '/tasks' }, 401, /Authorization: Bearer/],
    ['forgets "Bearer"', () => tenantKey, { url: '/tasks' }, 401, /Authorization: Bearer/],
    ['sends Basic credentials', () => `Basic ${tenantKey}`, { url: '/tasks' }, 401, /Authorization: Bearer/],
    ['sends a wrong API key', () => `${tenant()}0`, { url: '/tasks' }, 401, /key/],
    ['sends the API key in the query', () => undefined, { url: '/tasks?key=abc' }, 401, /Authorization: Bearer/],
    [
      'manages tenants as a tenant',
      tenant,
      { url: '/tenants' },
      403,
      /API key belongs to "shop"; this route needs an API key of the operator/,
    ],
    [
      'reads another tenant',
      tenant,
      { url: '/tenants/acme' },
      403,
      /cannot read tenant "acme"; use an API key of that tenant or of the operator/,
    ],
    [
      'writes limits without "limits"',
      operator,
      put('/tenants/new', { tasks: 5 }),
      400,
      /body\/tasks is not a known field; the known fields are limits, share/,
    ],
    [
      'quotes a limit',
      operator,
      put('/tenants/new', { limits: { tasks: '5' } }),
      400,
      /limits\/tasks must be an integer or null, but is the string "5"/,
    ],
    ['writes a tenant id in upper case', operator, put('/tenants/Acme', {}), 400, /"Acme" .*a-z, 0-9/],
    ['uses a reserved tenant id', operator, put('/tenants/operator', {}), 400, /"operator".* reserved/],
    [
      'creates an API key of a missing tenant',
      operator,
      { ...newKey({}), url: '/tenants/nobody/keys' },
      404,
      /no tenant "nobody"/,
    ],
    [
      'lets an API key expire in the past',
      operator,
      newKey({ expires: '2020-01-01T00:00:00Z' }),
      400,
      /2020-01-01T00:00:00Z.*such as|2020-01-01T00:00:00Z.*like/,
    ],
    [
      'writes "tomorrow" as a time',
      operator,
      newKey({ expires: 'tomorrow' }),
      400,
      /body\/expires must be a time in ISO 8601, such as 2127-01-01T00:00:00Z/,
    ],
  ]
  describe('of API keys and tenants', () => {
    for (const [mistake, authorization, request, status, detail] of keyedMistakes)
      test(`has a response with the cause and the remedy: the user ${mistake}`, async () => {
        const value = authorization()
        const headers = { ...json, ...(value !== undefined && { authorization: value }) }
        const response = await keyed.app.inject({ ...request, headers })
        assert.equal(response.statusCode, status, response.body)
        assert.match(response.json<{ detail: string }>().detail, detail)
      })

    test('has a response with the remedy on a server without API keys', async () => {
      const response = await open.app.inject({ url: '/tenants' })
      assert.equal(response.statusCode, 403)
      assert.match(response.json<{ detail: string }>().detail, /no API keys; .*propetl tenants create-key operator/)
    })
  })

  test('has a response with the remedy: the user calls an HTTPS port over HTTP', async () => {
    const pem = (name: string) => join(root, 'test/fixtures/tls', `${name}.pem`)
    const { server } = await startRunning({ tlsCert: pem('first.cert'), tlsKey: pem('first.key') })
    const socket = connect(Number(new URL(server.address).port), '127.0.0.1')
    socket.write('GET /tasks HTTP/1.1\r\nhost: localhost\r\n\r\n')
    let response = ''
    for await (const piece of socket) response += piece
    assert.match(response, /^HTTP\/1\.1 400 .*this port accepts only HTTPS; begin the URL with https:\/\//s)
  })

  test('has a response that says so: the user sends bytes that are not HTTP', async () => {
    const socket = connect(Number(new URL(open.server.address).port), '127.0.0.1')
    socket.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]))
    const [response] = (await once(socket, 'data')) as [Buffer]
    assert.match(response.toString(), /^HTTP\/1\.1 400 .*this is not a valid HTTP request/s)
    socket.destroy()
  })
})

describe('no mistake', () => {
  test('is HEAD, which responds like GET without a body', async () => {
    const head = await open.app.inject({ method: 'HEAD', url: '/tasks/sst2' })
    assert.deepEqual([head.statusCode, head.body], [200, ''])
  })

  test('is the root path, which links to the entry points', async () => {
    const { statusCode, body } = await open.app.inject('/')
    assert.equal(statusCode, 200)
    for (const path of Object.values(JSON.parse(body)).filter((value) => String(value).startsWith('/')))
      assert.equal((await open.app.inject(String(path))).statusCode, 200, String(path))
  })
})
