// The files of the console, which the build writes into dist/console: the page, and what it loads from console/. They are
// read once, because they are few and small and anybody can request them.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { extname } from 'node:path'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { digestOf } from '../formats/digest.js'
import { inPackage } from '../package.js'
import { etagOf, isUnchanged } from './etags.js'
import { weightOf } from './negotiation.js'

/** One form of a file: as it is, or compressed. */
interface Form {
  readonly encoding: 'br' | 'gzip' | undefined
  readonly content: Buffer
  /** Names this form in ETags. */
  readonly digest: string
}

export interface ConsoleFile {
  readonly type: string
  /** The smallest first. */
  readonly forms: readonly Form[]
}

export interface Console {
  readonly page: ConsoleFile
  /** By name. A name contains a hash of the content. */
  readonly assets: ReadonlyMap<string, ConsoleFile>
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
}

/** The page loads its own files only, runs no inline code, and talks to this server only. */
export const consolePolicy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"

/** Undefined if the console was not built, as after a plain `tsc`. */
export function readConsole(folder = inPackage('dist/console/')): Console | undefined {
  const page = new URL('index.html', folder)
  if (!existsSync(page)) return undefined
  const assets = new URL('console/', folder)
  const names = readdirSync(assets).filter((name) => Object.hasOwn(types, extname(name)))
  return { page: readFile(page), assets: new Map(names.map((name) => [name, readFile(new URL(name, assets))])) }
}

function readFile(file: URL): ConsoleFile {
  const forms = (['br', 'gzip', undefined] as const).flatMap((encoding): Form[] => {
    const path = encoding === undefined ? file : new URL(`${file}.${encoding === 'br' ? 'br' : 'gz'}`)
    if (!existsSync(path)) return []
    const content = readFileSync(path)
    return [{ encoding, content, digest: digestOf(content).slice(0, 32) }]
  })
  return { type: types[extname(file.pathname)] ?? 'application/octet-stream', forms }
}

/** Sends a file in the smallest form that the client accepts, or 304 if it has that form. */
export function sendFile(request: FastifyRequest, reply: FastifyReply, { type, forms }: ConsoleFile): FastifyReply {
  const { 'accept-encoding': accepted, 'if-none-match': known } = request.headers
  const form = forms.find(({ encoding }) => encoding === undefined || weightOf(accepted, encoding) > 0)
  if (form === undefined) throw new Error('a file of the console has no plain form')
  reply.header('vary', 'Accept, Accept-Encoding').header('etag', etagOf(form.digest))
  if (isUnchanged({ 'if-none-match': known }, form.digest)) return reply.code(304).send()
  if (form.encoding !== undefined) reply.header('content-encoding', form.encoding)
  return reply.type(type).send(form.content)
}
