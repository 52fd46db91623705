// How the server sends the console: to browsers only, compressed, cached by name, and under a strict policy.

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import openapiTypes from 'openapi-typescript'
import { weightOf } from '../../src/http/negotiation.js'
import { startRunning } from '../http/running.js'
import { root } from '../material.js'

const browserAccept = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'
const { app } = await startRunning({ operatorKey: 'an-operators-key-of-at-least-32-characters' })
const get = (url: string, headers: Record<string, string> = {}) => app.inject({ url, headers })
const page = await get('/', { accept: browserAccept })
const [script = ''] = /console\/index-[\w-]+\.js/.exec(page.body) ?? []

describe('GET /', () => {
  test('sends the page to a browser, without an API key', () => {
    assert.equal(page.statusCode, 200)
    assert.match(String(page.headers['content-type']), /^text\/html/)
    assert.match(page.body, /<div id="app">/)
  })

  test('sends links to programs', async () => {
    for (const accept of ['*/*', 'application/json', 'application/json, text/html', 'text/html;q=0', 'text/plain']) {
      const response = await get('/', { accept })
      assert.equal(response.json<{ tasks: string }>().tasks, '/tasks', accept)
      assert.match(String(response.headers.vary), /Accept/)
    }
    assert.equal((await get('/')).json<{ tasks: string }>().tasks, '/tasks')
  })

  test('allows the page only its own files and this server', () => {
    const policy = String(page.headers['content-security-policy'])
    const directives = new Map(
      policy.split('; ').map((part) => [part.split(' ', 1)[0], part.split(' ').slice(1).join(' ')]),
    )
    assert.deepEqual(Object.fromEntries(directives), {
      'default-src': "'none'",
      'script-src': "'self'",
      'style-src': "'self'",
      'img-src': "'self' data:",
      'connect-src': "'self'",
      'base-uri': "'none'",
      'frame-ancestors': "'none'",
      'form-action': "'none'",
    })
    assert.doesNotMatch(page.body, /<script(?![^>]*\ssrc=)|<style|\son\w+=|\sstyle=/)
  })

  test('makes a browser ask whether the page has changed', async () => {
    assert.equal(page.headers['cache-control'], 'no-cache')
    const etag = String(page.headers.etag)
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`]) {
      const again = await get('/', { accept: browserAccept, 'if-none-match': known })
      assert.deepEqual([again.statusCode, again.body], [304, ''])
    }
  })
})

describe('the files of the console', () => {
  test('are addressed relative to the page, so that a proxy may serve it under a path', () => {
    const addresses = Array.from(page.body.matchAll(/(?:src|href)="([^"]+)"/g), ([, address = '']) => address)
    assert.ok(addresses.length >= 3)
    for (const address of addresses) assert.match(address, /^(\.\/|data:)/)
  })

  test('are the same in every form, and each form has an ETag of its own', async () => {
    const plain = await get(`/${script}`)
    const br = await get(`/${script}`, { 'accept-encoding': 'gzip, deflate, br' })
    const gzip = await get(`/${script}`, { 'accept-encoding': 'gzip, br;q=0' })
    assert.deepEqual([br.headers['content-encoding'], gzip.headers['content-encoding']], ['br', 'gzip'])
    assert.equal(brotliDecompressSync(br.rawPayload).toString(), plain.body)
    assert.equal(gunzipSync(gzip.rawPayload).toString(), plain.body)
    assert.equal(new Set([plain, br, gzip].map(({ headers }) => headers.etag)).size, 3)
    assert.match(String(plain.headers['content-type']), /^text\/javascript/)
  })

  test('are kept for good, because their names change with their content', async () => {
    const { headers } = await get(`/${script}`)
    assert.equal(headers['cache-control'], 'public, max-age=31536000, immutable')
    const [name = ''] = /[^/]+$/.exec(script) ?? []
    assert.equal((await get(`/console/${name.replace('index-', 'index-x')}`)).statusCode, 404)
  })

  test('are at most 60 KB for the first load', () => {
    const names = Array.from(page.body.matchAll(/console\/[\w.-]+\.(?:js|css)/g), ([name]) => name)
    const folder = join(root, 'dist/console')
    const bytes = ['index.html', ...names.map((name) => `${name}.br`)].map(
      (name) => readFileSync(join(folder, name)).length,
    )
    const total = bytes.reduce((sum, each) => sum + each, 0)
    assert.ok(total <= 60_000, `${total} bytes`)
  })

  test('are only those of the console', async () => {
    for (const name of [
      '..%2findex.html',
      '%2e%2e%2f%2e%2e%2fcli.js',
      'index.html',
      `${script.slice(8)}.br`,
      '__proto__',
    ])
      assert.equal((await get(`/console/${name}`)).statusCode, 404, name)
    assert.equal((await get('/console/')).statusCode, 404)
  })

  test('name no other host to load from', () => {
    const folder = join(root, 'dist/console/console')
    for (const name of readdirSync(folder).filter((each) => /\.(js|css)$/.test(each))) {
      const addresses =
        readFileSync(join(folder, name), 'utf8').match(/(?:https?:)?\/\/[\w-]+\.[\w.-]+[^\s"'`]*/g) ?? []
      const known = addresses.filter((address) => !/^http:\/\/www\.w3\.org\//.test(address))
      assert.deepEqual(known, [], name)
    }
  })
})

describe('the weight of a value in a header', () => {
  test('is 1 where no weight is written, and 0 where the value is not named', () => {
    const cases = [
      [undefined, 0],
      ['', 0],
      ['br', 1],
      ['gzip, BR', 1],
      ['gzip;q=1, br;q=0.5', 0.5],
      ['br; q=0', 0],
      ['br;q=x', 0],
      ['brotli', 0],
      [',,br,', 1],
    ] as const
    for (const [header, weight] of cases) assert.equal(weightOf(header, 'br'), weight, header)
  })
})

test('the types of the console are those of openapi/openapi.json (npm run generate writes them)', async () => {
  const api = JSON.parse(readFileSync(join(root, 'openapi/openapi.json'), 'utf8')) as Parameters<typeof openapiTypes>[0]
  const types = await openapiTypes(api, { immutableTypes: true })
  assert.equal(readFileSync(join(root, 'console/src/api/openapi.ts'), 'utf8'), types)
})
