import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type FormPart, readForm } from '../../src/http/forms.js'

const limits = { parts: 5, headerBytes: 300 }
const read = (body: string | Uint8Array, boundary = 'cut') => readForm(Buffer.from(body as string), boundary, limits)
const shown = (parts: readonly FormPart[]) => parts.map(({ name, filename, content }) => [name, filename, `${content}`])
const form = (...parts: [disposition: string, content: string][]) =>
  `${parts.map(([disposition, content]) => `--cut\r\n${disposition}\r\n\r\n${content}\r\n`).join('')}--cut--\r\n`
const disposition = (rest: string) => `Content-Disposition: form-data; ${rest}`

describe('a form', () => {
  test('consists of its parts, without the text around them', () => {
    const parts = form(
      [`${disposition('name="file"; filename="a.bin"')}\r\nContent-Type: application/octet-stream`, 'a\r\n--cu\r\n--'],
      [`content-type: text/plain\r\ncontent-disposition:form-data;name=id`, ''],
    )
    const expected = [
      ['file', 'a.bin', 'a\r\n--cu\r\n--'],
      ['id', undefined, ''],
    ]
    assert.deepEqual(shown(read(parts)), expected)
    assert.deepEqual(shown(read(`preamble\r\nof lines\r\n${parts}epilogue\r\n--cut\r\n`)), expected)
    assert.deepEqual(shown(read('--cut--')), [])
  })

  test('has filenames as browsers, curl and other clients write them', () => {
    for (const [written, filename] of [
      ['filename="a b.safetensors"', 'a b.safetensors'],
      ['filename=plain', 'plain'],
      ['FileName="caf\u00e9 \u6f22.bin"', 'caf\u00e9 \u6f22.bin'],
      ['filename="with \\"quotes\\".bin"', 'with "quotes".bin'],
      ['filename="a;b=c.bin"', 'a;b=c.bin'],
      ['filename="/etc/../dir/x.bin"', 'x.bin'],
      ['filename=""', ''],
      ["filename*=UTF-8''x.bin", undefined],
    ] as const)
      assert.equal(read(form([disposition(`name="file"; ${written}`), 'x']))[0]?.filename, filename, written)
  })

  test('is read as it was written, for any bytes and any boundary', () => {
    const boundary = fc.stringMatching(/^[0-9A-Za-z'()+_,./:=?-]{1,70}$/)
    fc.assert(
      fc.property(boundary, fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }), (cut, contents) => {
        fc.pre(contents.every((content) => !Buffer.from(content).includes(`--${cut}`)))
        const pieces = contents.flatMap((content, at) => [
          Buffer.from(`--${cut}\r\n${disposition(`name="${at}"`)}\r\n\r\n`),
          content,
          Buffer.from('\r\n'),
        ])
        const parts = read(Buffer.concat([...pieces, Buffer.from(`--${cut}--\r\n`)]), cut)
        assert.deepEqual(
          parts.map(({ content }) => Buffer.from(content)),
          contents.map((content) => Buffer.from(content)),
        )
      }),
    )
  })

  test('is rejected with the reason if it is malformed', () => {
    const named = disposition('name="a"')
    for (const [body, reason] of [
      ['', /there is no line "--cut", the boundary/],
      ['no form', /there is no line "--cut", the boundary/],
      ['x--cut\r\n\r\n', /there is no line "--cut", the boundary/],
      [form([named, 'a']).slice(0, -9), /there is no line "--cut", the boundary/],
      ['--cut\r\n', /headers of a part have more than/],
      [`--cut\r\n${named}`, /headers of a part have more than/],
      [form([`${named}\r\nx: ${'x'.repeat(300)}`, 'a']), /headers of a part have more than 300 bytes/],
      [form(['', 'a']), /no header Content-Disposition: form-data/],
      [form(['content-type: text/plain', 'a']), /no header Content-Disposition: form-data/],
      [form([disposition('filename="a"'), 'a']), /name="…"/],
      [form(['content-disposition: attachment; name="a"', 'a']), /form-data; name=/],
      [`--cutter\r\n${named}\r\n\r\n\r\n--cut--`, /followed by "ter"/],
      [form(...new Array<[string, string]>(6).fill([named, 'a'])), /more than 5 parts/],
    ] as const)
      assert.throws(() => read(body), { code: 'invalid_request', message: reason })
    for (const boundary of ['', 'x'.repeat(71)])
      assert.throws(() => read('', boundary), {
        code: 'invalid_request',
        message: /boundary in its content type has \d+ characters/,
      })
  })

  test('is either read or rejected, for any bytes', () => {
    const piece = fc.constantFrom(
      '--cut',
      '--',
      '\r\n',
      '\r\n\r\n',
      `${disposition('name=a')}\r\n\r\n`,
      'x',
      ';',
      '"',
      '=',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        try {
          for (const { name } of read(pieces.join(''))) assert.ok(name !== undefined)
        } catch (error) {
          assert.equal((error as { code?: unknown }).code, 'invalid_request')
        }
      }),
      { numRuns: 2_000 },
    )
  })
})
