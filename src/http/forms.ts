// Reads forms with files: multipart/form-data (RFC 7578, RFC 2046 section 5.1), from a whole body. It ignores text before the
// first and after the last part, and all headers but Content-Disposition.

import { Problem, quoted } from '../problem.js'
import { readMediaType } from './media-types.js'

export interface FormPart {
  readonly name: string
  /** Without directories; undefined if the part is not a file. */
  readonly filename: string | undefined
  /** A view of the body. */
  readonly content: Buffer
}

export interface FormLimits {
  readonly parts: number
  /** Most bytes of the headers of one part. */
  readonly headerBytes: number
}

/** RFC 2046, section 5.1.1. */
const longestBoundary = 70
const lineEnd = '\r\n'

/** @throws Problem `invalid_request` if the body is not a form or exceeds the limits */
export function readForm(body: Buffer, boundary: string, limits: FormLimits): FormPart[] {
  if (boundary === '' || boundary.length > longestBoundary)
    throw malformed(
      `the boundary in its content type has ${boundary.length} characters; expected 1 to ${longestBoundary}`,
    )
  const delimiter = Buffer.from(`--${boundary}`, 'latin1')
  const separator = Buffer.concat([Buffer.from(lineEnd), delimiter])
  const parts: FormPart[] = []
  let at = body.subarray(0, delimiter.byteLength).equals(delimiter) ? 0 : after(body.indexOf(separator), lineEnd.length)
  for (;;) {
    if (at < 0) throw malformed(`there is no line ${quoted(`--${boundary}`)}, the boundary in its content type`)
    const behind = at + delimiter.byteLength
    if (body.toString('latin1', behind, behind + 2) === '--') return parts
    if (parts.length === limits.parts) throw malformed(`it has more than ${limits.parts} parts`)
    const { headers, start } = readHeaders(body, behind, limits.headerBytes)
    const end = body.indexOf(separator, start)
    if (end >= 0) parts.push({ ...headers, content: body.subarray(start, end) })
    at = after(end, lineEnd.length)
  }
}

const after = (found: number, length: number): number => (found < 0 ? found : found + length)

/** @param at offset after the boundary. @returns the headers, and the offset of the content */
function readHeaders(body: Buffer, at: number, most: number) {
  const end = body.subarray(at, at + most).indexOf(lineEnd + lineEnd)
  if (end < 0) throw malformed(`the headers of a part have more than ${most} bytes`)
  const [rest = '', ...lines] = body.toString('utf8', at, at + end).split(lineEnd)
  if (rest.trim() !== '') throw malformed(`the boundary is followed by ${quoted(rest)}`)
  const line = lines.find((each) => /^content-disposition[ \t]*:/i.test(each)) ?? ''
  const { type, parameters } = readMediaType(line.slice(line.indexOf(':') + 1))
  const name = parameters.get('name')
  if (type !== 'form-data' || name === undefined)
    throw malformed('a part has no header Content-Disposition: form-data; name="…"')
  return {
    headers: { name, filename: parameters.get('filename')?.split(/[\\/]/).at(-1) },
    start: at + end + 2 * lineEnd.length,
  }
}

const malformed = (why: string): Problem => new Problem('invalid_request', `the body is not a form: ${why}`)
