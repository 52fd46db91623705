// What an attacker reads of its answers.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AnswerReader } from '../../bench/attacks/answers.js'

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
const outcomes = ['200', '413 body_too_large', '204', '304', '200', '429', '401']

function read(pieces: readonly Buffer[]): string[] {
  const found: string[] = []
  const reader = new AnswerReader((outcome) => found.push(outcome))
  for (const piece of pieces) reader.read(piece)
  return found
}

test('answers are told apart wherever the stream is cut', () => {
  assert.deepEqual(read([stream]), outcomes)
  assert.deepEqual(read([...stream].map((byte) => Buffer.of(byte))), outcomes)
  for (let at = 1; at < stream.length; at++)
    assert.deepEqual(read([stream.subarray(0, at), stream.subarray(at)]), outcomes, `cut at byte ${at}`)
})

test('an answer counts once it has come whole', () => {
  const answer = 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'
  assert.deepEqual(read([Buffer.from(answer.slice(0, -1))]), [])
})
