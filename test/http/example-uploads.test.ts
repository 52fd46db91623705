// Bodies with files of examples that are hostile, interrupted, too many or too large, on real sockets.

import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { ExampleFile } from '../../src/examples/example-file.js'
import { ReadingThreads } from '../../src/examples/reading-threads.js'
import { UploadFolder } from '../../src/examples/upload-folder.js'
import { operator } from '../../src/tenants/tenant.js'
import { root, temporaryDirectory } from '../material.js'
import { RawClient } from '../raw-client.js'
import { isRoot, smallDisk } from '../small-disk.js'
import { type Running, startRunning } from './running.js'

const maxBytes = 1_000_000
let running: Running
before(async () => {
  running = await startRunning({ maxExamplesBytes: String(20 * maxBytes) })
})

const head = (url: string, headers: string) =>
  `POST ${url} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: text/csv\r\n${headers}\r\n\r\n`

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let tries = 0; tries < 1_000; tries++) {
    if (await holds()) return
    await delay(10)
  }
  assert.fail(`timed out waiting until ${what}`)
}

const post = async (id: string, body: string | Uint8Array, type = 'text/csv') => {
  const response = await fetch(`${running.server.address}/tasks/${id}/examples`, {
    method: 'POST',
    headers: { 'content-type': type },
    body: body as BodyInit,
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> & { detail: string } }
}

describe('a body with examples', () => {
  test('leaves nothing when its client disconnects', async () => {
    const { uploads } = running.server.services
    const client = new RawClient(running.server.address)
    client.send(head('/tasks/gone/examples', 'content-length: 1000000')).send('text,label\na,b\n')
    await until(async () => (await readdir(uploads.path)).length === 1, 'the file is there')
    client.socket.destroy()
    await until(async () => (await readdir(uploads.path)).length === 0, 'the file is removed')
    await until(() => uploads.files.held === 0, 'its bytes are free')
    assert.equal(running.server.services.examples.dataset(operator, 'gone'), undefined)
  })

  test('may have no length, up to the limit', async () => {
    const chunk = (bytes: number) => `${bytes.toString(16)}\r\n${'x'.repeat(bytes)}\r\n`
    const small = new RawClient(running.server.address)
    small
      .send(head('/tasks/chunked/examples', 'transfer-encoding: chunked'))
      .send('f\r\ntext,label\na,b\n\r\n0\r\n\r\n')
    assert.equal((await small.first(1))[0]?.status, 200)
    const large = new RawClient(running.server.address)
    large.send(head('/tasks/chunked/examples', 'transfer-encoding: chunked'))
    for (let sent = 0; sent < 22; sent++) large.send(chunk(maxBytes))
    assert.equal((await large.first(1))[0]?.status, 413)
    await until(() => running.server.services.uploads.files.held === 0, 'its bytes are free')
  })

  test('is rejected while its owner has too many', async () => {
    const length = 20 * maxBytes
    const holding = [1, 2].map(() =>
      new RawClient(running.server.address)
        .send(head('/tasks/many/examples', `content-length: ${length}`))
        .send('text,label\n'),
    )
    await until(() => running.server.services.uploads.files.held === 2 * length, 'both are received')
    const third = new RawClient(running.server.address)
    third.send(head('/tasks/many/examples', `content-length: ${length}\r\nexpect: 100-continue`))
    const rejected = (await third.first(2))[1]
    assert.equal(rejected?.status, 429)
    assert.match(rejected.headers, /retry-after/i)
    for (const client of holding) client.socket.destroy()
    await until(() => running.server.services.uploads.files.held === 0, 'their bytes are free')
    assert.equal((await post('many', 'text,label\na,b\n')).status, 200)
  })
})

describe('a hostile file of examples', () => {
  test('with a line without end is rejected, and nothing is stored', async () => {
    const { status, body } = await post('line', `text,label\n${'x'.repeat(18 * maxBytes)}`)
    assert.equal(status, 422)
    assert.match(body.detail, /^the body:2: the line is longer than 16777216 characters/)
  })

  test('with a label for each row is read, and its labels are counted in part', async () => {
    const rows = Array.from({ length: 10_000 }, (_, i) => `text ${i},label ${i}`)
    const { status, body } = await post('labels', `text,label\n${rows.join('\n')}\n`)
    assert.equal(status, 200)
    assert.equal((body.report as { label_count: number; labels: object[] }).label_count, 10_000)
    assert.equal((body.report as { label_count: number; labels: object[] }).labels.length, 200)
    assert.equal(running.server.services.examples.dataset(operator, 'labels')?.examples, 10_000)
  })

  test('with a very long text or label is rejected with its place', async () => {
    assert.match(
      (await post('long', `text,label\n${'x'.repeat(300_000)},a\n`)).body.detail,
      /^the body:2: the example would take/,
    )
    assert.match(
      (await post('long', `text,label\na,${'x'.repeat(2_000)}\n`)).body.detail,
      /the label has 2000 characters/,
    )
  })

  test('that needs more memory than its thread has is rejected, and the next one is read', async () => {
    const path = join(await temporaryDirectory(), 'a.csv')
    const rows = Array.from({ length: 200_000 }, (_, i) => `${i},${i}-abcdefghijklmnopqrst`)
    await writeFile(path, `text,label\n${rows.join('\n')}\n`)
    const threads = new ReadingThreads(8 << 20)
    const read = async (name: string) => {
      const file = new ExampleFile({ path, name, columns: {}, by: 'me' }, threads, new AbortController().signal)
      try {
        return await file.survey()
      } finally {
        file.close()
      }
    }
    await assert.rejects(read('large.csv'), {
      code: 'invalid_data',
      message: /^large\.csv needs more than 8388608 bytes/,
    })
    await writeFile(path, 'text,label\na,b\n')
    assert.equal((await read('small.csv')).examples, 1)
    await threads.close()
  })

  test('of a binary format is rejected with the name of its problem', async () => {
    const fixture = (name: string) => readFile(join(root, `test/fixtures/data/${name}.parquet`))
    for (const parquet of [await fixture('bomb'), (await fixture('class-labels')).subarray(0, 200)]) {
      const { status, body } = await post('parquet', parquet, 'application/vnd.apache.parquet')
      assert.equal(status, 422)
      assert.doesNotMatch(body.detail, /uploads|\/tmp/)
    }
    assert.equal((await post('parquet', await fixture('class-labels'), 'application/vnd.apache.parquet')).status, 200)
    assert.match(
      (await post('parquet', 'PK\x03\x04 a', 'text/csv')).body.detail,
      /^the body: this is not a text file but a ZIP/,
    )
    assert.match((await post('parquet', '\0\0a\0\0')).body.detail, /^the body:1: /)
  })
})

describe('the folder of uploads', () => {
  test('loses the files of servers that do not run, at the start', async () => {
    const dataDir = await temporaryDirectory()
    const { path } = await UploadFolder.open(dataDir, maxBytes)
    const names = [`${process.ppid}-a.csv`, `${process.pid}-b.csv`, '999999999-c.csv', 'other']
    for (const name of names) await writeFile(join(path, name), 'x')
    await UploadFolder.open(dataDir, maxBytes)
    assert.deepEqual(await readdir(path), [`${process.ppid}-a.csv`])
  })

  test('takes no file for which the disk has no room', { skip: !isRoot }, async () => {
    const { directory } = await smallDisk()
    const folder = await UploadFolder.open(directory, maxBytes)
    const body = async function* () {
      yield Buffer.alloc(10)
    }
    await assert.rejects(folder.receive(operator, '.csv', 10, body()), { code: 'storage_failed' })
    assert.deepEqual([await readdir(folder.path), folder.files.held], [[], 0])
  })
})
