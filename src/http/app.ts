// The HTTP application: limits, request ids, logs, errors, and the routes. It can be injected into without a socket.

import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { finished } from 'node:stream/promises'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import fastify, { type FastifyInstance, type FastifyServerOptions, LogController } from 'fastify'
import type { Config } from '../config.js'
import { Problem } from '../problem.js'
import type { Metrics } from './metrics.js'
import { answerProblem, problemBody, problems } from './problems.js'
import { healthRoutes } from './routes/health.js'
import { predictRoutes } from './routes/predict.js'
import { taskRoutes } from './routes/tasks.js'
import { openapiDocument } from './schemas.js'
import type { Lifecycle } from './services.js'

export interface AppOptions {
  readonly config: Pick<Config, 'maxBodyBytes' | 'maxUploadBytes' | 'maxInputs' | 'requestTimeoutMs'>
  readonly lifecycle: Lifecycle
  readonly metrics: Metrics
  readonly logger?: NonNullable<FastifyServerOptions['loggerInstance']>
}

/** How long a request may take to arrive, in milliseconds. */
const receiveTimeoutMs = 60_000

/**
 * Most clients read no answer before they have sent everything: a body up to this size is let in and thrown away
 * before it is refused. A larger one is cut off.
 */
const drainedBytes = 256 * 1024 * 1024

/** Ids that callers may choose: what is safe in a log line and a header. */
const requestIdPattern = /^[\w.:-]{1,128}$/

export async function buildApp({ config, lifecycle, metrics, logger }: AppOptions): Promise<FastifyInstance> {
  const app = fastify({
    ...(logger ? { loggerInstance: logger } : { logger: false }),
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    bodyLimit: config.maxBodyBytes,
    requestTimeout: receiveTimeoutMs,
    genReqId: requestId,
    frameworkErrors: answerProblem,
    clientErrorHandler: answerMalformed,
    routerOptions: { maxParamLength: 1_000 },
    // The hook below answers in our words.
    return503OnClosing: false,
  }).withTypeProvider<TypeBoxTypeProvider>()
  app.setValidatorCompiler(TypeBoxValidatorCompiler)
  app.setErrorHandler(answerProblem)
  app.setNotFoundHandler((request, reply) =>
    answerProblem(
      new Problem('not_found', `there is no ${request.method} ${request.url.slice(0, 200)}`),
      request,
      reply,
    ),
  )
  app.removeContentTypeParser('text/plain')

  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id)
    if (!lifecycle.stopping || request.url.startsWith('/health/') || request.url === '/metrics') return
    throw new Problem('shutting_down', 'the server is stopping and takes no new work')
  })
  app.addHook('onRequest', async (request) => {
    const bytes = Number(request.headers['content-length'] ?? 0)
    const limit = request.routeOptions.bodyLimit ?? config.maxBodyBytes
    if (!(bytes > limit)) return
    if (bytes <= drainedBytes) await drained(request.raw)
    throw new Problem('body_too_large', `the body has ${bytes} bytes; at most ${limit} are taken here`, {
      bytes,
      limit,
    })
  })
  app.addHook('onSend', async (_request, reply) => {
    // A connection that is kept alive would keep the server from ending.
    if (lifecycle.stopping) reply.header('connection', 'close')
  })
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none'
    const { statusCode: status, elapsedTime: ms } = reply
    metrics.request(request.method, route, status, ms / 1000)
    const level = status >= 500 ? 'warn' : request.url.startsWith('/health/') || route === '/metrics' ? 'debug' : 'info'
    request.log[level]({ method: request.method, url: request.url, status, ms: Math.round(ms * 10) / 10 }, 'request')
  })

  await app.register(swagger, { openapi: openapiDocument })
  await app.register(swaggerUi, { routePrefix: '/docs' })
  await app.register(predictRoutes(lifecycle, config))
  await app.register(taskRoutes(lifecycle, config))
  await app.register(healthRoutes(lifecycle, metrics))
  return app
}

async function drained(request: IncomingMessage): Promise<void> {
  request.resume()
  await finished(request, { writable: false }).catch(() => {})
}

function requestId(request: { readonly headers: IncomingMessage['headers'] }): string {
  const given = request.headers['x-request-id']
  return typeof given === 'string' && requestIdPattern.test(given) ? given : randomUUID()
}

/** What is no HTTP at all never reaches a route. */
function answerMalformed(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return
  const { status } = problems.invalid_request
  const body = JSON.stringify(problemBody('invalid_request', `this is not an HTTP request: ${error.message}`))
  socket.end(
    `HTTP/1.1 ${status} Bad Request\r\ncontent-type: application/problem+json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}
