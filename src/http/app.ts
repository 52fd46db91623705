// The HTTP application: limits, request ids, who calls, logs, errors, and the routes. It can be injected into without a
// socket.

import { randomUUID } from 'node:crypto'
import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { finished } from 'node:stream/promises'
import cors from '@fastify/cors'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify, { type FastifyInstance, type FastifyRequest, type FastifyServerOptions, LogController } from 'fastify'
import type { Config } from '../config.js'
import { Problem } from '../problem.js'
import type { Access } from '../tenants/access.js'
import { actorOf } from '../tenants/audit.js'
import { Rates } from '../tenants/rates.js'
import { identifyCallers } from './callers.js'
import type { Certificate } from './certificate.js'
import { Connections } from './connections.js'
import { createListener, type ListenerLimits } from './listener.js'
import type { Metrics } from './metrics.js'
import { noteMethods } from './other-methods.js'
import { answerProblem, problemBody, problems } from './problems.js'
import { healthRoutes } from './routes/health.js'
import { predictRoutes } from './routes/predict.js'
import { taskRoutes } from './routes/tasks.js'
import { tenantRoutes } from './routes/tenants.js'
import { openapiDocument } from './schemas.js'
import { addSecurityHeaders } from './security-headers.js'
import type { Lifecycle } from './services.js'
import { validatorCompiler } from './validation.js'

export interface AppOptions {
  readonly config: ListenerLimits &
    Pick<
      Config,
      | 'maxBodyBytes'
      | 'maxUploadBytes'
      | 'maxInputs'
      | 'requestTimeoutMs'
      | 'shutdownTimeoutMs'
      | 'corsOrigins'
      | 'insecure'
    >
  readonly lifecycle: Lifecycle
  readonly metrics: Metrics
  readonly access: Access
  /** To serve HTTPS with. */
  readonly certificate?: Certificate | undefined
  readonly logger?: NonNullable<FastifyServerOptions['loggerInstance']>
}

/**
 * Most clients read no answer before they have sent everything: a body up to this size is let in and thrown away
 * before it is refused. A larger one is cut off.
 */
const drainedBytes = 256 * 1024 * 1024

/** How long a connection that is refused stays, so that its client can read why, in milliseconds. */
const lingerMs = 1_000

/** Ids that callers may choose: what is safe in a log line and a header. */
const requestIdPattern = /^[\w.:-]{1,128}$/

/** What pages of other origins may read of an answer beside its body. */
const exposedHeaders = ['etag', 'location', 'x-request-id', 'retry-after', 'ratelimit', 'ratelimit-policy']

export async function buildApp(options: AppOptions): Promise<FastifyInstance> {
  const { config, lifecycle, metrics, access, certificate, logger } = options
  const rates = new Rates()
  const connections = new Connections()
  const app = fastify({
    serverFactory: (handler) => createListener(config, certificate, connections, handler),
    ...(logger ? { loggerInstance: logger } : { logger: false }),
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    bodyLimit: config.maxBodyBytes,
    genReqId: requestId,
    frameworkErrors: answerProblem,
    clientErrorHandler: answerMalformed,
    routerOptions: { maxParamLength: 1_000 },
    // Connections are closed then, but what comes on one that is open is still answered.
    return503OnClosing: false,
  }).withTypeProvider<TypeBoxTypeProvider>()
  app.setValidatorCompiler(validatorCompiler)
  app.setErrorHandler(answerProblem)
  app.setNotFoundHandler((request, reply) =>
    answerProblem(
      new Problem('not_found', `there is no ${request.method} ${request.url.slice(0, 200)}`),
      request,
      reply,
    ),
  )
  app.removeContentTypeParser('text/plain')
  addSecurityHeaders(app, certificate !== undefined)
  // A browser asks without a key whether it may send one.
  if (config.corsOrigins.length > 0)
    await app.register(cors, {
      origin: [...config.corsOrigins],
      methods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'],
      exposedHeaders,
    })

  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id)
    if (request.headers.host === undefined && request.raw.httpVersion === '1.1')
      throw new Problem('invalid_request', 'the request has no Host header; HTTP/1.1 asks for one')
  })
  identifyCallers(app, { access, rates, corsOrigins: config.corsOrigins, anyHost: config.insecure })
  app.addHook('onRequest', async (request, reply) => {
    const bytes = Number(request.headers['content-length'] ?? 0)
    const limit = request.routeOptions.bodyLimit ?? config.maxBodyBytes
    if (!(bytes > limit)) return
    if (bytes <= drainedBytes && !asksToContinue(request)) await drained(request.raw)
    else reply.header('connection', 'close')
    throw new Problem('body_too_large', `the body has ${bytes} bytes; at most ${limit} are taken here`, {
      bytes,
      limit,
    })
  })
  app.addHook('preParsing', async (request, reply) => {
    if (asksToContinue(request)) reply.raw.writeContinue()
  })
  app.addHook('onSend', async (_request, reply) => {
    // A connection that is kept alive would keep the server from ending.
    if (lifecycle.stopping) reply.header('connection', 'close')
  })
  app.addHook('preClose', async () => connections.stop(config.shutdownTimeoutMs / 2))
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none'
    const { statusCode: status, elapsedTime: ms } = reply
    const { caller } = request
    metrics.request(request.method, route, status, ms / 1000)
    if (caller?.tenant) metrics.tenantRequest(caller.owner, status)
    const level = status >= 500 ? 'warn' : request.url.startsWith('/health/') || route === '/metrics' ? 'debug' : 'info'
    request.log[level](
      {
        method: request.method,
        url: request.url,
        status,
        ms: Math.round(ms * 10) / 10,
        ...(caller?.key && { caller: actorOf(caller) }),
      },
      'request',
    )
  })

  await app.register(swagger, { openapi: openapiDocument })
  await app.register(docs)
  const refuseOtherMethods = noteMethods(app)
  await app.register(predictRoutes({ access, lifecycle, metrics, rates, limits: config }))
  await app.register(taskRoutes(lifecycle, config))
  await app.register(tenantRoutes(lifecycle))
  await app.register(healthRoutes(lifecycle, metrics))
  refuseOtherMethods()
  return app
}

/** The description as pages. They say nothing but what openapi/openapi.json says, and a browser has no key to send. */
async function docs(app: FastifyInstance): Promise<void> {
  app.addHook('onRoute', (route) => {
    route.config = { ...route.config, audience: 'everybody' }
  })
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: "default-src 'self'; img-src 'self' data:; base-uri 'none'; object-src 'none'; frame-ancestors 'none'",
  })
}

/** It sends its body once it is told to. */
const asksToContinue = ({ headers }: FastifyRequest): boolean => /^100-continue$/i.test(headers.expect ?? '')

async function drained(request: IncomingMessage): Promise<void> {
  request.resume()
  await finished(request, { writable: false }).catch(() => {})
}

function requestId(request: { readonly headers: IncomingMessage['headers'] }): string {
  const given = request.headers['x-request-id']
  return typeof given === 'string' && requestIdPattern.test(given) ? given : randomUUID()
}

/** What is no HTTP at all, or takes too long to come, never reaches a route. */
function answerMalformed(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return
  const [code, detail] = refusals[error.code ?? ''] ?? [
    'invalid_request',
    `this is not an HTTP request: ${error.message}`,
  ]
  const { status } = problems[code]
  const body = JSON.stringify(problemBody(code, detail))
  // Until the client has closed its side too, but not for ever.
  setTimeout(() => socket.destroy(), lingerMs).unref()
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/problem+json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}

const refusals: Partial<Record<string, readonly [code: keyof typeof problems, detail: string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: ['request_timeout', 'the request took too long to arrive'],
  HPE_HEADER_OVERFLOW: ['headers_too_large', "the request's line and headers are larger than this server takes"],
}
