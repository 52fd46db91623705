// Files of examples in requests: their format and name, and how a body becomes a file.

import type { IncomingMessage } from 'node:http'
import { basename, extname } from 'node:path'
import type { FastifyRequest } from 'fastify'
import { isDataFileName } from '../data/file-rows.js'
import type { ReceivedFile, UploadFolder } from '../examples/upload-folder.js'
import type { Owner } from '../owner.js'
import { Problem, quoted, shortened } from '../problem.js'
import { tooLarge, tooTiny } from './bodies.js'
import { Request } from './connections.js'
import { readMediaType } from './media-types.js'
import { contentTypeDetail } from './problems.js'

/** Extensions of files by content type. The readers of data files find the dialect. */
const extensions: ReadonlyMap<string, string> = new Map([
  ['application/json', '.json'],
  ['application/x-ndjson', '.jsonl'],
  ['application/ndjson', '.jsonl'],
  ['application/jsonl', '.jsonl'],
  ['text/csv', '.csv'],
  ['text/tab-separated-values', '.tsv'],
  ['application/vnd.apache.parquet', '.parquet'],
  ['text/plain', '.txt'],
])

/** Content types of the OpenAPI document. */
export const exampleTypes = [
  'application/json',
  'application/x-ndjson',
  'text/csv',
  'text/tab-separated-values',
  'application/vnd.apache.parquet',
  'text/plain',
] as const

export interface NamedFormat {
  /** The file in messages. */
  readonly name: string
  readonly extension: string
}

const maxNameLength = 200

/** @throws Problem `unsupported_media_type` if neither content type nor file name is one of a data file */
export function formatOf({ headers }: FastifyRequest): NamedFormat {
  const given = headers['content-type']
  const name = fileNameOf(headers['content-disposition'])
  if (name !== undefined && isDataFileName(name)) return { name, extension: extname(name).toLowerCase() }
  const extension = extensions.get(readMediaType(given).type)
  if (extension !== undefined) return { name: name ?? 'the body', extension }
  throw new Problem(
    'unsupported_media_type',
    `${contentTypeDetail(given, `${exampleTypes.join(', ')}`)}; or the header Content-Disposition: attachment; filename="examples.csv"` +
      (name === undefined ? '' : `. The file name ${quoted(name)} does not end like that of a data file`),
  )
}

/** The last part of a path, as some clients send one. */
function fileNameOf(disposition: string | undefined): string | undefined {
  const { parameters } = readMediaType(disposition)
  const encoded = /^utf-8'[^']*'(.*)$/i.exec(parameters.get('filename*') ?? '')?.[1]
  const name = (encoded === undefined ? undefined : decoded(encoded)) ?? parameters.get('filename')
  if (name === undefined) return undefined
  const last = basename(name.replaceAll('\\', '/')).replaceAll(/\p{C}/gu, '')
  // The end has the extension.
  return last === '' ? undefined : last.length > maxNameLength ? `…${last.slice(-maxNameLength)}` : last
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/**
 * Writes the body of a request to a file.
 * @throws Problem `body_too_large`, `invalid_request`, `client_closed_request`, those of the folder
 */
export function receiveFile(
  request: FastifyRequest,
  body: IncomingMessage,
  owner: Owner,
  folder: UploadFolder,
): Promise<ReceivedFile> {
  const length = request.headers['content-length']
  return folder.receive(
    owner,
    formatOf(request).extension,
    length === undefined ? undefined : Number(length),
    piecesOf(body, request.routeOptions.bodyLimit ?? 0),
  )
}

async function* piecesOf(body: IncomingMessage, limit: number): AsyncGenerator<Buffer> {
  let bytes = 0
  try {
    for await (const piece of body as AsyncIterable<Buffer>) {
      bytes += piece.byteLength
      if (bytes > limit) throw tooLarge(limit)
      if (body instanceof Request && body.hasTinyPieces) throw tooTiny()
      yield piece
    }
  } catch (error) {
    if (error instanceof Problem) throw error
    throw new Problem('client_closed_request', `the body did not arrive completely: ${shortened(String(error), 200)}`)
  }
}
