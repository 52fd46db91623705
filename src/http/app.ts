// The HTTP application: limits, request ids, who calls, logs, errors, and the routes. It can be injected into without a
// socket.

import cors, { type FastifyCorsOptions } from '@fastify/cors'
import swagger from '@fastify/swagger'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify, { type FastifyInstance, type FastifyRequest, type FastifyServerOptions, LogController } from 'fastify'
import type { Config } from '../config.js'
import type { Costs } from '../costs/costs.js'
import { LoopTurns } from '../costs/loop-turns.js'
import { Problem } from '../problem.js'
import type { Access } from '../tenants/access.js'
import { actorOf } from '../tenants/audit.js'
import { Rates } from '../tenants/rates.js'
import { addBodyHooks, addJsonParser, bodyReader } from './bodies.js'
import { reserveBodyMemory } from './body-memory.js'
import { identifyCallers } from './callers.js'
import type { Certificate } from './certificate.js'
import { Connections } from './connections.js'
import { docs } from './docs.js'
import { createListener, type ListenerLimits } from './listener.js'
import type { Metrics } from './metrics.js'
import { collectMethods } from './other-methods.js'
import { waitForTurns } from './owner-turns.js'
import { sendProblem } from './problems.js'
import { checkHeaders, requestIdOf } from './request-headers.js'
import { addResponseHeaders, responseHeaders } from './response-headers.js'
import { healthRoutes } from './routes/health.js'
import { predictRoutes } from './routes/predict.js'
import { rootRoute } from './routes/root.js'
import { taskRoutes } from './routes/tasks.js'
import { tenantRoutes } from './routes/tenants.js'
import { withComponents } from './schemas/component.js'
import { openapiDocument } from './schemas/document.js'
import type { Lifecycle } from './services.js'
import { problemWriter } from './socket-problems.js'
import { rejectUnknownParameters, validatorCompiler } from './validation.js'

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
  readonly costs: Costs
  readonly lifecycle: Lifecycle
  readonly metrics: Metrics
  readonly access: Access
  /** To serve HTTPS with. */
  readonly certificate?: Certificate | undefined
  readonly logger?: NonNullable<FastifyServerOptions['loggerInstance']>
}

/** What pages of other origins may read of an answer beside its body. */
const exposedHeaders = ['etag', 'location', 'x-request-id', 'retry-after', 'ratelimit', 'ratelimit-policy']

export async function buildApp(options: AppOptions): Promise<FastifyInstance> {
  const { config, costs, lifecycle, metrics, access, certificate, logger } = options
  const rates = new Rates()
  const headers = responseHeaders(certificate !== undefined)
  const connections = new Connections(problemWriter(headers, logger))
  const app = fastify({
    serverFactory: (handler) => createListener(config, certificate, connections, handler),
    ...(logger ? { loggerInstance: logger } : { logger: false }),
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    bodyLimit: config.maxBodyBytes,
    genReqId: requestIdOf,
    // No hook sees such a request.
    frameworkErrors: (error, request, reply) => {
      reply.headers({ ...headers, 'x-request-id': request.id, connection: 'close' })
      request.log.info({ method: request.method, reason: error.message }, 'request refused')
      return sendProblem(error, request, reply)
    },
    clientErrorHandler: (error, socket) => connections.failed(socket, error),
    routerOptions: { maxParamLength: 1_000 },
    // Connections are closed then, but what comes on one that is open is still answered.
    return503OnClosing: false,
  }).withTypeProvider<TypeBoxTypeProvider>()
  app.setValidatorCompiler(validatorCompiler)
  app.setErrorHandler(sendProblem)
  app.setNotFoundHandler((request, reply) =>
    sendProblem(new Problem('not_found', `there is no ${request.method} ${request.url.slice(0, 200)}`), request, reply),
  )
  app.removeAllContentTypeParsers()
  // What a DELETE request may have for a body means nothing (RFC 9110, section 9.3.5).
  app.addHttpMethod('DELETE', { hasBody: false, overrideExisting: true })
  addResponseHeaders(app, headers)
  app.addHook('onRequest', async (request) => checkHeaders(request.raw))
  // A browser asks without a key whether it may send one.
  if (config.corsOrigins.length > 0) await app.register(cors, { delegator: corsOf(config.corsOrigins) })
  identifyCallers(app, { access, rates, corsOrigins: config.corsOrigins, anyHost: config.insecure })
  waitForTurns(app, new LoopTurns())
  addBodyHooks(app)
  const readBody = bodyReader(reserveBodyMemory(app, costs.pools.bodies))
  addJsonParser(app, readBody, config.maxInputs, costs.work)
  app.addHook('onSend', async (_request, reply) => {
    // A connection that is kept alive would keep the server from ending.
    if (lifecycle.stopping) reply.header('connection', 'close')
  })
  app.addHook('preClose', () => connections.stop(config.shutdownTimeoutMs / 2))
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

  await app.register(swagger, {
    openapi: openapiDocument,
    transformObject: (documents) =>
      'openapiObject' in documents ? withComponents(documents.openapiObject) : documents.swaggerObject,
  })
  await app.register(docs)
  const rejectOtherMethods = collectMethods(app)
  rejectUnknownParameters(app)
  await app.register(rootRoute)
  await app.register(predictRoutes({ access, lifecycle, metrics, rates, limits: config }))
  await app.register(taskRoutes(lifecycle, config, readBody))
  await app.register(tenantRoutes(lifecycle))
  await app.register(healthRoutes(lifecycle, metrics))
  rejectOtherMethods()
  return app
}

/** OPTIONS requests that ask for nothing of CORS are answered as on a server without it. */
const corsOf =
  (origins: readonly string[]) =>
  async ({ method, headers }: FastifyRequest): Promise<FastifyCorsOptions> => ({
    origin: [...origins],
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    exposedHeaders,
    preflight: method === 'OPTIONS' && headers.origin !== undefined && 'access-control-request-method' in headers,
  })
