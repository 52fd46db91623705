// The command predict as users run it, with golden texts and logits of PyTorch (test/fixtures/reference).

import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { parse } from 'csv-parse/sync'
import { startRunning } from '../http/running.js'
import { type GoldenRow, golden, masksDir, referenceModelDir, temporaryDirectory } from '../material.js'
import { cli } from '../server-process.js'

const run = promisify(execFile)
const folder = await temporaryDirectory()
const modelDir = await referenceModelDir()
const taskFile = (task: string) => join(masksDir, `${task}.safetensors`)
const predict = (args: readonly string[], env: Record<string, string> = {}) =>
  run(process.execPath, [cli, 'predict', ...args], { cwd: folder, env: { ...process.env, ...env } })
const predictFile = (task: string, data: string, ...args: string[]) =>
  predict([taskFile(task), data, '--model-dir', modelDir, '--threads', '1', ...args])
const fails = (args: readonly string[], exitCode: number, message: RegExp, env?: Record<string, string>) =>
  assert.rejects(predict(args, env), (error: Error & { code: number; stderr: string }) => {
    assert.equal(error.code, exitCode, error.stderr)
    assert.match(error.stderr, message)
    return true
  })

const write = (name: string, content: string) => writeFile(join(folder, name), content)
const read = (name: string) => readFile(join(folder, name), 'utf8')
const jsonLines = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

const rowsOf = (task: string): readonly GoldenRow[] => golden[task] ?? []
/** The highest softmax probability of golden logits. */
const confidence = ({ logits }: GoldenRow): number => {
  const powers = logits.map(Math.exp)
  return Math.max(...powers) / powers.reduce((sum, power) => sum + power, 0)
}
const close = (a: unknown, b: number) => assert.ok(Math.abs(Number(a) - b) < 1e-4, `${a} is not ${b}`)

const trec = rowsOf('trec')
await write('trec.jsonl', trec.map(({ text, logits }) => JSON.stringify({ text, logits })).join('\n'))

describe('with a task file', () => {
  test('keeps rows and columns, and adds the label and the score of each text', async () => {
    const cells = trec.map(({ text }, at) => `${at},"${text.replaceAll('"', '""')}","a\nb; ""c"""`)
    await write('trec.csv', ['id,text,label', ...cells.toSpliced(3, 0, 'blank,  ,"x"')].join('\n'))
    const { stdout, stderr } = await predictFile('trec', 'trec.csv')
    const rows = parse(stdout, { columns: true }) as Record<string, string>[]
    assert.deepEqual(Object.keys(rows[0] ?? {}), ['id', 'text', 'label', 'predicted_label', 'score'])
    assert.deepEqual(rows[3], { id: 'blank', text: '  ', label: 'x', predicted_label: '', score: '' })
    assert.match(stderr, /warning: trec\.csv:\d+: the row has no text; its prediction is empty/)
    const predicted = rows.toSpliced(3, 1)
    assert.equal(predicted.length, trec.length)
    const labels = ['abbreviation', 'description', 'entity', 'human', 'location', 'number']
    for (const [at, row] of predicted.entries()) {
      const expected = trec[at] as GoldenRow
      assert.equal(row.id, String(at))
      assert.equal(row.text, expected.text)
      assert.equal(row.label, 'a\nb; "c"')
      assert.equal(row.predicted_label, labels[expected.logits.indexOf(Math.max(...expected.logits))])
      close(row.score, confidence(expected))
    }
  })

  test('writes pairs and values as JSON lines, and prints a summary as JSON', async () => {
    const pairs = rowsOf('sick_relatedness')
    const lines = pairs.map(({ text, text_pair }) => JSON.stringify({ nested: { a: [1] }, a: text, b: text_pair }))
    await write('pairs.jsonl', [...lines, '{"b":"alone"}'].join('\n'))
    const columns = ['--text-column', 'a', '--text-pair-column', 'b']
    const { stdout } = await predictFile('sick_relatedness', 'pairs.jsonl', ...columns, '--out', 'p.jsonl', '--json')
    const { seconds, ...summary } = JSON.parse(stdout)
    assert.ok(seconds > 0)
    assert.deepEqual(summary, {
      task: taskFile('sick_relatedness'),
      data: 'pairs.jsonl',
      file: 'p.jsonl',
      rows: pairs.length + 1,
      without_text: 1,
      columns: ['value'],
    })
    const rows = jsonLines(await read('p.jsonl'))
    assert.deepEqual(rows.pop(), { b: 'alone', value: null })
    for (const [at, { value, ...row }] of rows.entries()) {
      assert.deepEqual(row, JSON.parse(lines[at] ?? ''))
      close(value, pairs[at]?.logits[0] ?? Number.NaN)
    }
  })

  test('reports arguments that cannot work before anything is computed', async () => {
    const trecFile = taskFile('trec')
    await fails([trecFile, 'trec.jsonl', '--out', 'x.txt'], 2, /--out x\.txt: expected a name that ends in \.csv/)
    await fails([trecFile, 'trec.jsonl', '--out', './trec.jsonl'], 2, /is the data file itself/)
    await fails([trecFile, 'trec.jsonl', '--json'], 2, /add --out FILE/)
    await fails(['trec.jsonl', trecFile], 2, /trec\.jsonl is a data file; expected first a task file/)
    await fails([trecFile, 'none.csv'], 1, /none\.csv cannot be read: there is no such file/)
    await write('other.csv', 'review,stars\ngood,5\n')
    await fails(
      [trecFile, 'other.csv', '--model-dir', modelDir],
      1,
      /other\.csv: there is no column "text"; the file has "review", "stars"\. Name the column to use with --text-column/,
    )
    await write('empty.csv', 'text\n')
    await fails([trecFile, 'empty.csv'], 1, /empty\.csv: the file has no rows/)
    assert.ok(!(await readdir(folder)).some((name) => name.endsWith('.partial')))
  })
})

describe('with a server', async () => {
  const { server } = await startRunning({ maxInputs: '8' })
  const servers: ReturnType<typeof createServer>[] = []
  after(() => {
    for (const front of servers) {
      front.closeAllConnections()
      front.close()
    }
  })
  /** A server of our own before or in place of the real one. */
  const listen = async (listener: RequestListener): Promise<string> => {
    const front = createServer(listener).listen(0, '127.0.0.1')
    servers.push(front)
    await once(front, 'listening')
    return `http://127.0.0.1:${(front.address() as AddressInfo).port}`
  }
  const forward = async (request: IncomingMessage, body: string): Promise<Response> =>
    fetch(`${server.address}${request.url}`, {
      method: request.method ?? 'GET',
      headers: { 'content-type': 'application/json' },
      ...(body !== '' && { body }),
    })

  test('gives the predictions of the task file, with the scores of all labels, in requests that the server accepts', async () => {
    await predictFile('trec', 'trec.jsonl', '--out', 'file.jsonl', '--scores')
    await predict([`${server.address}/tasks/trec`, 'trec.jsonl', '--out', 'server.jsonl', '--scores'])
    const [fromFile, fromServer] = [jsonLines(await read('file.jsonl')), jsonLines(await read('server.jsonl'))]
    assert.equal(fromServer.length, trec.length)
    for (const [at, row] of fromServer.entries()) {
      assert.equal(row.text, trec[at]?.text)
      assert.equal(row.label, fromFile[at].label)
      for (const [label, score] of Object.entries(row.scores)) close(score, fromFile[at].scores[label])
    }
  })

  test('repeats requests that are rejected for now, after the pause that the server asks for', async () => {
    const rejections: [number, Record<string, string>][] = [
      [429, { 'retry-after': '1' }],
      [503, { 'retry-after': '0' }],
      [502, {}],
    ]
    const times: number[] = []
    const address = await listen(async (request, response) => {
      const body = await text(request)
      const rejection = request.method === 'POST' ? rejections.shift() : undefined
      if (request.method === 'POST') times.push(performance.now())
      if (rejection) {
        response.writeHead(...rejection).end('{"code":"rate_limited","detail":"too fast"}')
        return
      }
      const answer = await forward(request, body)
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text())
    })
    await write('one.csv', 'text\nWho wrote Dune?\n')
    const { stdout, stderr } = await predict([`${address}/tasks/trec`, 'one.csv'])
    assert.match(stdout, /^text,label,score\nWho wrote Dune\?,human,0\.\d+\n$/)
    assert.match(stderr, /warning: http.*\/predict responded with 429: too fast\. The request is repeated/)
    assert.equal(times.length, 4)
    assert.ok((times[1] ?? 0) - (times[0] ?? 0) >= 990)
  })

  test('reports an error that repeating does not cure', async () => {
    await fails([`${server.address}/tasks/none`, 'one.csv'], 1, /responded with 404: .*none/)
    const closed = await listen(() => {})
    servers.at(-1)?.close()
    await fails([`${closed}/tasks/trec`, 'one.csv'], 1, /no server responds at http/)
    const locked = await listen((_, response) => response.writeHead(401).end())
    await fails([`${locked}/tasks/trec`, 'one.csv'], 1, /requires an API key; set it in .* PROPETL_KEY/, {})
    await fails([`${locked}/tasks/trec`, 'one.csv'], 1, /rejects the API key/, { PROPETL_KEY: 'old' })
  })

  test('leaves an existing file unchanged if it is interrupted', async () => {
    let started: () => void = () => {}
    const predicting = new Promise<void>((resolve) => {
      started = resolve
    })
    const address = await listen(async (request, response) => {
      if (request.method === 'POST') return started()
      const answer = await forward(request, '')
      response.end(await answer.text())
    })
    await write('out.csv', 'a good file')
    const args = [cli, 'predict', `${address}/tasks/trec`, 'trec.jsonl', '--out', 'out.csv']
    const child = spawn(process.execPath, args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
    let stderr = ''
    child.stderr.on('data', (piece) => {
      stderr += piece
    })
    const closed = once(child, 'close')
    await Promise.race([predicting, closed])
    child.kill('SIGINT')
    const [code] = await closed
    assert.equal(code, 130, stderr)
    assert.match(stderr, /propetl: interrupted after 0 of 32 rows; out\.csv was not written/)
    assert.equal(await read('out.csv'), 'a good file')
    assert.ok(!(await readdir(folder)).some((name) => name.endsWith('.partial')))
  })
})
