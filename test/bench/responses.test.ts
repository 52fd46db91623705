// The parser that attackers read their responses with.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ResponseReader } from '../../bench/attacks/responses.js'

const problem = '{"type":"about:blank","status":413,"code":"body_too_large","detail":"too large"}'
const stream = Buffer.from(
  [
    'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello',
    'HTTP/1.1 100 Continue\r\n\r\n',
    `HTTP/1.1 413 Payload Too Large\r\nContent-Length: ${problem.length}\r\nconnection: close\r\n\r\n${problem}`,
    'HTTP/1.1 204 No Content\r\n\r\n',
    'HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\n\r\n',
    `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2800\r\n${'x'.repeat(0x2800)}\r\n5\r\nHTTP/\r\n0\r\n\r\n`,
    `HTTP/1.1 429 Too Many Requests\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{"code"\r\n9\r\n:"busy",}\r\n0\r\na: trailer\r\n\r\n`,
    `HTTP/1.1 401 Unauthorized\r\nx-long: ${'y'.repeat(3_000)}\r\ncontent-length: 0\r\n\r\n`,
  ].join(''),
)
const expected = ['200', '413 body_too_large', '204', '304', '200', '429', '401']

function read(pieces: readonly Buffer[]): string[] {
  const outcomes: string[] = []
  const reader = new ResponseReader((outcome) => outcomes.push(outcome))
  for (const piece of pieces) reader.read(piece)
  return outcomes
}

test('parses the same responses wherever the stream is split', () => {
  assert.deepEqual(read([stream]), expected)
  assert.deepEqual(read([...stream].map((byte) => Buffer.of(byte))), expected)
  for (let at = 1; at < stream.length; at++)
    assert.deepEqual(read([stream.subarray(0, at), stream.subarray(at)]), expected, `split at byte ${at}`)
})

test('does not report an incomplete response', () => {
  const response = 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'
  assert.deepEqual(read([Buffer.from(response.slice(0, -1))]), [])
})
