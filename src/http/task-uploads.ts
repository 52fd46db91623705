// Task files in requests: as the whole body, or as a file of a form.

import type { FastifyRequest } from 'fastify'
import { Problem, quoted } from '../problem.js'
import { checkTaskId } from '../tasks/registry.js'
import { tooLarge } from './bodies.js'
import type { FormPart } from './forms.js'
import { curlType, readMediaType } from './media-types.js'
import { contentTypeDetail } from './problems.js'

export const fileType = 'application/octet-stream'
export const formType = 'multipart/form-data'

/** Most bytes of a form without its file. */
export const formBytes = 64 * 1024
export const formLimits = { parts: 5, headerBytes: 8 * 1024 }

const checkType =
  (types: readonly string[], expected: string) =>
  async ({ headers }: FastifyRequest): Promise<void> => {
    const given = headers['content-type']
    if (types.includes(readMediaType(given).type)) return
    throw new Problem('unsupported_media_type', contentTypeDetail(given, expected))
  }

/** Rejects other content types before the body is read, even those that other routes accept. */
export const expectFile = checkType([fileType, curlType], `${fileType} with a task file; send forms to POST /tasks`)
export const expectForm = checkType([formType], `${formType} with a task file; send a bare file to PUT /tasks/<id>`)

/**
 * The file and the id of a form.
 * @throws Problem `invalid_request` for parts other than one file and one id, `invalid_task_id`, `body_too_large`
 */
export function uploadOf(parts: readonly FormPart[], maxBytes: number): { id: string; file: Buffer } {
  const file = parts.find(({ name, filename }) => name === 'file' && filename !== undefined)
  const id = parts.find(({ name, filename }) => name === 'id' && filename === undefined)
  const others = parts.filter((part) => part !== file && part !== id)
  if (file === undefined || others.length > 0)
    throw new Problem(
      'invalid_request',
      `the form has ${others.length > 0 ? others.map(describePart).join(', ') : 'no file'}; expected one file named "file" and optionally one field named "id"`,
    )
  const { content, filename = '' } = file
  if (content.byteLength > maxBytes) throw tooLarge(maxBytes)
  return {
    id: checkTaskId(id?.content.toString('utf8', 0, 1_000) ?? filename.replace(/\.safetensors$/, '')),
    file: content,
  }
}

function describePart({ name, filename }: FormPart): string {
  if (filename !== undefined) return `a file ${quoted(name)}`
  return `a field ${quoted(name)}${name === 'file' ? ' without a filename' : ''}`
}
