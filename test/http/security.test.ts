import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { connect } from 'node:net'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connect as connectSecurely } from 'node:tls'
import { Certificate } from '../../src/http/certificate.js'
import { root, temporaryDirectory } from '../material.js'
import { keyClient, operatorKey, predict, type Running, startRunning } from './running.js'

const pem = (name: string) => join(root, 'test/fixtures/tls', `${name}.pem`)

describe('HTTPS', () => {
  /** The name in the certificate of a server. */
  const certificateName = async (port: number) => {
    const socket = connectSecurely({ port, host: '127.0.0.1', rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const { CN } = socket.getPeerCertificate().subject
    socket.destroy()
    return CN
  }

  test('uses the certificate of the files, and the next one when they change', async () => {
    const directory = await temporaryDirectory()
    const [tlsCert, tlsKey] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
    await copyFile(pem('first.cert'), tlsCert)
    await copyFile(pem('first.key'), tlsKey)
    const { server } = await startRunning({ tlsCert, tlsKey })
    assert.match(server.address, /^https:/)
    // openssl prints: Nov  1 04:10:42 2126 GMT.
    const { body } = await server.app.inject('/metrics')
    assert.match(
      body,
      new RegExp(`^propetl_certificate_valid_until_seconds ${Date.UTC(2126, 10, 1, 4, 10, 42) / 1000}$`, 'm'),
    )
    const port = Number(new URL(server.address).port)
    const asked = request({ port, path: '/health/live', rejectUnauthorized: false }).end()
    const [response] = (await once(asked, 'response')) as [{ statusCode: number; headers: Record<string, string> }]
    assert.deepEqual([response.statusCode, response.headers['strict-transport-security']], [200, 'max-age=31536000'])
    asked.destroy()
    assert.equal(await certificateName(port), 'first')
    await copyFile(pem('second.cert'), tlsCert)
    await copyFile(pem('second.key'), tlsKey)
    while ((await certificateName(port)) !== 'second') await new Promise((resolve) => setTimeout(resolve, 200))
  })

  test('keeps its certificate while the files do not match, and finds a renewal from before it watched them', async () => {
    const directory = await temporaryDirectory()
    const files = { cert: join(directory, 'cert.pem'), key: join(directory, 'key.pem') }
    await copyFile(pem('first.cert'), files.cert)
    await copyFile(pem('first.key'), files.key)
    const certificate = await Certificate.open(files)
    const first = certificate.pair
    await copyFile(pem('second.cert'), files.cert)
    const said: string[] = []
    const renewal = new Promise<void>((renewed) =>
      certificate.watch({ renewed, rejected: ({ message }) => said.push(message) }, 20),
    )
    while (said.length === 0) await delay(20)
    assert.equal(certificate.pair, first)
    await delay(200)
    await copyFile(pem('second.key'), files.key)
    await renewal
    assert.deepEqual(certificate.pair.cert, await readFile(pem('second.cert')))
    // At most one more report, for a file that was read while it was written.
    assert.ok(said.length <= 2)
    assert.match(said[0] ?? '', /cert\.pem and .*key\.pem are not a certificate and its private key/)
    certificate.close()
  })

  test('does not start with invalid files, and names them', async () => {
    const directory = await temporaryDirectory()
    const nonsense = join(directory, 'nonsense.pem')
    await writeFile(nonsense, 'nonsense')
    const [cert, key] = [pem('first.cert'), pem('first.key')]
    for (const [files, message] of [
      [{ cert: '/nowhere.pem', key }, /^\/nowhere\.pem cannot be read/],
      [{ cert: nonsense, key }, /nonsense\.pem and .* are not a certificate/],
      [{ cert, key: nonsense }, /nonsense\.pem are not a certificate/],
      [{ cert, key: pem('second.key') }, /are not a certificate and its private key/],
    ] as const)
      await assert.rejects(Certificate.open(files), { code: 'invalid_setting', message })
    await assert.rejects(startRunning({ tlsCert: cert }), {
      message: /--tls-cert and --tls-key must be given together/,
    })
  })
})

describe('the protection of the server', () => {
  let running: Running
  before(async () => {
    const limits = { headersTimeoutMs: '300', receiveTimeoutMs: '600', maxHeaderBytes: '4096' }
    running = await startRunning({ corsOrigins: 'https://app.example.com,http://localhost:3000', ...limits })
  })
  /** Sends bytes. @returns the response, until the server closes the connection */
  const raw = async (text: string) => {
    const socket = connect(Number(new URL(running.server.address).port), '127.0.0.1')
    socket.write(text)
    let response = ''
    for await (const piece of socket) response += piece
    return response
  }

  test('responds 408 to slow headers or bodies and closes the connection', async () => {
    assert.match(await raw('GET /tasks HTTP/1.1\r\nHost: localhost\r\n'), /^HTTP\/1\.1 408 .*"code":"request_timeout"/s)
    const begun =
      'POST /predict HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{"in'
    assert.match(await raw(begun), /^HTTP\/1\.1 408 /)
  })

  test('responds 431 to headers that are too large', async () => {
    const line = `GET /tasks HTTP/1.1\r\nHost: localhost\r\nx-long: ${'a'.repeat(5_000)}\r\n\r\n`
    assert.match(await raw(line), /^HTTP\/1\.1 431 Request Header Fields Too Large.*"code":"headers_too_large"/s)
  })

  test('sends security headers with every response', async () => {
    for (const url of ['/tasks', '/tasks/none', '/nowhere', '/health/live', '/metrics']) {
      const { headers } = await running.app.inject(url)
      assert.equal(headers['x-content-type-options'], 'nosniff')
      assert.equal(headers['content-security-policy'], "default-src 'none'; frame-ancestors 'none'")
      assert.equal(headers['strict-transport-security'], undefined)
    }
    assert.match(String((await running.app.inject('/docs/')).headers['content-security-policy']), /^default-src 'self'/)
  })

  test('allows pages of the configured origins to call it, and no others', async () => {
    const preflight = (origin: string) =>
      running.app.inject({
        method: 'OPTIONS',
        url: '/tasks/sst2/predict',
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,content-type',
        },
      })
    const allowed = await preflight('https://app.example.com')
    assert.equal(allowed.statusCode, 204)
    assert.equal(allowed.headers['access-control-allow-origin'], 'https://app.example.com')
    assert.equal(allowed.headers['access-control-allow-headers'], 'authorization,content-type')
    assert.equal((await preflight('https://evil.example')).headers['access-control-allow-origin'], undefined)
    const get = (origin: string) =>
      running.app.inject({ url: '/tasks/sst2', headers: { origin, 'sec-fetch-site': 'cross-site' } })
    const got = await get('http://localhost:3000')
    assert.deepEqual([got.statusCode, got.headers['access-control-allow-origin']], [200, 'http://localhost:3000'])
    assert.match(String(got.headers['access-control-expose-headers']), /etag.*ratelimit/)
    // Without API keys only this header distinguishes requests of pages from those of the user.
    assert.equal((await get('https://evil.example')).json<{ code: string }>().code, 'forbidden')
  })

  test('without API keys allows its own pages and clients that are not browsers, but no other pages', async () => {
    const status = async (origin: string | undefined, host: string, app = running.app, headers = {}) =>
      (await app.inject({ url: '/tasks/sst2', headers: { host, ...(origin !== undefined && { origin }), ...headers } }))
        .statusCode
    for (const [origin, host] of [
      [undefined, 'localhost:8080'],
      ['http://localhost:8080', 'localhost:8080'],
      ['http://localhost', 'localhost'],
      ['http://localhost', 'localhost:80'],
      // A proxy in front of the server has the certificate.
      ['https://localhost', 'localhost:443'],
      ['http://[::1]:8080', '[::1]:8080'],
      ['https://app.example.com', 'localhost:8080'],
    ] as const)
      assert.equal(await status(origin, host), 200, `${origin} to ${host}`)
    for (const origin of [
      'null',
      '',
      'http://localhost:8081',
      'http://localhost.evil.example:8080',
      'http://localhost:8080@evil.example',
      'http://127.0.0.1:8080',
      'https://app.example.com.evil.example',
      'https://app.example.com:8443',
      'file://localhost:8080',
      'chrome-extension://localhost:8080',
      'http://localhost:8080, http://localhost:8080',
    ])
      assert.equal(await status(origin, 'localhost:8080'), 403, origin)
    // DNS rebinding, and browsers that send only Sec-Fetch-Site.
    assert.equal(await status('http://evil.example', 'evil.example'), 403)
    assert.equal(await status(undefined, 'localhost', running.app, { 'sec-fetch-site': 'cross-site' }), 403)
    assert.equal(await status(undefined, 'localhost', running.app, { 'sec-fetch-site': 'same-origin' }), 200)
    const posted = await running.app.inject({
      method: 'POST',
      url: '/tasks',
      headers: { origin: 'http://localhost:3001', 'content-type': 'multipart/form-data; boundary=x' },
      body: '--x--',
    })
    assert.equal(posted.json<{ code: string }>().code, 'forbidden')
    // With an API key the origin does not matter.
    const keyed = await startRunning({ operatorKey })
    const authorization = `Bearer ${operatorKey}`
    assert.equal(await status('https://evil.example', 'localhost', keyed.app, { authorization }), 200)
  })

  test('sends the request id and security headers even with early errors', async () => {
    const authorized = 'host: localhost\r\nconnection: close\r\n'
    const preflight = 'origin: https://app.example.com\r\naccess-control-request-method: POST\r\n'
    for (const [text, status] of [
      [`OPTIONS /tasks HTTP/1.1\r\n${authorized}${preflight}\r\n`, 204],
      [`OPTIONS /tasks HTTP/1.1\r\n${authorized}\r\n`, 405],
      [`OPTIONS * HTTP/1.1\r\n${authorized}\r\n`, 404],
      [`HEAD /tasks/sst2 HTTP/1.1\r\n${authorized}\r\n`, 200],
      [`HEAD /nowhere HTTP/1.1\r\n${authorized}\r\n`, 404],
      [`PATCH /tasks HTTP/1.1\r\n${authorized}\r\n`, 405],
      [`GET /tasks/%zz HTTP/1.1\r\n${authorized}\r\n`, 400],
      [`GET /${'a'.repeat(1_500)} HTTP/1.1\r\n${authorized}\r\n`, 404],
      [`GET /tasks/${'a'.repeat(1_500)} HTTP/1.1\r\n${authorized}\r\n`, 400],
      [`GET /tasks HTTP/1.1\r\nhost: localhost\r\nconnection: close, upgrade\r\nupgrade: websocket\r\n\r\n`, 200],
      [`GET /docs/static/nothing HTTP/1.1\r\n${authorized}\r\n`, 404],
      [`GET /docs/static/index.html HTTP/1.1\r\n${authorized}\r\n`, 302],
      [`GET /tasks HTTP/1.1\r\n${authorized}expect: 200-ok\r\n\r\n`, 417],
      [`GET /tasks?${'a=1&'.repeat(900)} HTTP/1.1\r\n${authorized}\r\n`, 400],
      [`GET /tasks HTTP/1.1\r\n${authorized}__proto__: x\r\nconstructor: y\r\n!#$%&'*+-.^_\`|~: z\r\n\r\n`, 200],
      [`GET /tasks HTTP/1.1\r\n${authorized}${'a:\r\n'.repeat(900)}\r\n`, 431],
      [`GET /tasks HTTP/1.1\r\n${authorized}x: ${'a'.repeat(5_000)}\r\n\r\n`, 431],
      ['GET /tasks HTTP/1.1\r\nhost: localhost\r\n', 408],
      ['CONNECT /tasks HTTP/1.1\r\nhost: localhost\r\n\r\n', 400],
      ['GET /tasks HTTP/1.1\r\nhost: localhost\r\nbad header: 1\r\n\r\n', 400],
    ] as const) {
      const response = await raw(text)
      const [head = '', body = ''] = response.split('\r\n\r\n')
      assert.match(head, new RegExp(`^HTTP/1\\.1 ${status} `), `${text.slice(0, 40)}: ${head}`)
      const id = /^x-request-id: (\S+)$/m.exec(head)?.[1]
      assert.ok(id, head)
      for (const name of ['x-content-type-options', 'content-security-policy', 'referrer-policy'])
        assert.equal(head.match(new RegExp(`^${name}: `, 'gim'))?.length, 1, `${name} of ${text.slice(0, 40)}`)
      if (status >= 400 && !text.startsWith('HEAD'))
        assert.equal((JSON.parse(body) as { request_id: string }).request_id, id)
      assert.ok(
        running.log.some((line) => line.request_id === id),
        `${text.slice(0, 40)} is not in the log`,
      )
    }
  })

  test('without API keys accepts only names and addresses of this machine as its host', async () => {
    const status = async (app: Running['app'], host: string) =>
      (await app.inject({ url: '/tasks/sst2', headers: { host } })).statusCode
    for (const host of ['localhost', 'localhost:8080', 'a.localhost', '127.0.0.1:8080', '192.168.1.7', '[::1]:8080'])
      assert.equal(await status(running.app, host), 200, host)
    for (const host of ['evil.example', 'evil.example:8080', 'localhost.evil.example', '127.0.0.1.evil.example', 'a b'])
      assert.equal(await status(running.app, host), 403, host)
    const insecure = await startRunning({ insecure: 'true' })
    assert.equal(await status(insecure.app, 'tasks.example'), 200)
    const keyed = await startRunning({ operatorKey })
    const headers = { host: 'tasks.example' }
    assert.equal((await keyClient(keyed.app, operatorKey)('GET', '/tasks', undefined, headers)).statusCode, 200)
  })

  test('sends no CORS headers unless origins are configured', async () => {
    const { app } = await startRunning({ operatorKey })
    const headers = { origin: 'https://app.example.com' }
    const response = await keyClient(app, operatorKey)('GET', '/tasks', undefined, headers)
    assert.deepEqual([response.statusCode, response.headers['access-control-allow-origin']], [200, undefined])
  })

  test('rejects JSON that is deeply nested or could change prototypes', async () => {
    const deep = `{"inputs":${'['.repeat(400_000)}${']'.repeat(400_000)}}`
    for (const [body, code] of [
      [deep, 'invalid_request'],
      [`{"inputs":${'{"text":'.repeat(100_000)}1${'}'.repeat(100_000)}}`, 'invalid_request'],
      ['{"inputs":"a","__proto__":{"truncate":false}}', 'invalid_json'],
      ['{"inputs":{"text":"a","constructor":{"prototype":{}}}}', 'invalid_json'],
      ['{"inputs":"a","toString":1}', 'invalid_request'],
    ] as const) {
      const response = await predict(running.app, 'sst2', body)
      assert.equal(response.json<{ code: string }>().code, code, body.slice(0, 60))
    }
  })
})

describe('a server that other machines can reach', () => {
  test('does not start without an API key, unless --insecure is set', async () => {
    const message = /--host is 0\.0\.0\.0, which other machines can reach, .*propetl tenants create-key operator/
    await assert.rejects(startRunning({ host: '0.0.0.0' }), { code: 'invalid_setting', message })
    const { app, log } = await startRunning({ host: '0.0.0.0', insecure: 'true' })
    assert.equal((await app.inject('/tasks')).statusCode, 200)
    assert.ok(log.some(({ level, msg }) => level === 40 && /anyone who can reach the server/.test(String(msg))))
  })

  test('starts with an API key, and requires it', async () => {
    const { app } = await startRunning({ host: '0.0.0.0', operatorKey })
    assert.equal((await app.inject('/tasks')).statusCode, 401)
    assert.equal((await keyClient(app, operatorKey)('GET', '/tasks')).statusCode, 200)
  })
})
