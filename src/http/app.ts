// The HTTP application: limits, request ids, authentication, logs, errors, and the routes. Tests inject requests without a
// socket.

import type { IncomingMessage, RequestListener, Server } from 'node:http'
import cors, { type FastifyCorsOptions } from '@fastify/cors'
import swagger from '@fastify/swagger'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify, { type FastifyInstance, type FastifyRequest, type FastifyServerOptions, LogController } from 'fastify'
import type { Config } from '../config.js'
import type { Costs } from '../costs/costs.js'
import { LoopTurns } from '../costs/loop-turns.js'
import type { Inference } from '../inference/inference.js'
import { Problem, shortened } from '../problem.js'
import type { Access } from '../tenants/access.js'
import { actorOf } from '../tenants/audit.js'
import { addBodyHooks, addJsonParser, bodyReader } from './bodies.js'
import { reserveBodyMemory } from './body-memory.js'
import { identifyCallers } from './callers.js'
import type { Certificate } from './certificate.js'
import { Connections, type Origin } from './connections.js'
import { docs } from './docs.js'
import { createListener, type ListenerLimits, limitsForWorkers } from './listener.js'
import type { Metrics } from './metrics.js'
import { collectMethods } from './other-methods.js'
import { waitForTurns } from './owner-turns.js'
import { sendProblem } from './problems.js'
import { checkHeaders, requestIdOf } from './request-headers.js'
import type { RequestMetrics } from './request-metrics.js'
import { addResponseHeaders, responseHeaders } from './response-headers.js'
import { exampleUploadRoute } from './routes/example-uploads.js'
import { exampleRoutes } from './routes/examples.js'
import { healthRoutes } from './routes/health.js'
import { jobRoutes } from './routes/jobs.js'
import { predictRoutes } from './routes/predict.js'
import { rootRoute } from './routes/root.js'
import { suggestionRoutes } from './routes/suggestions.js'
import { taskRoutes } from './routes/tasks.js'
import { tenantRoutes } from './routes/tenants.js'
import { versionRoutes } from './routes/versions.js'
import { withComponents } from './schemas/component.js'
import { openapiDocument } from './schemas/document.js'
import type { Lifecycle, PredictionServices } from './services.js'
import { problemWriter } from './socket-problems.js'
import { rejectUnknownParameters, validatorCompiler } from './validation.js'

/** What the applications of all processes need. */
export interface CommonOptions {
  readonly config: ListenerLimits &
    Pick<
      Config,
      | 'maxBodyBytes'
      | 'maxUploadBytes'
      | 'maxExamplesBytes'
      | 'maxInputs'
      | 'requestTimeoutMs'
      | 'shutdownTimeoutMs'
      | 'corsOrigins'
      | 'insecure'
    >
  readonly costs: Costs
  readonly access: Access
  readonly inference: Inference
  /** For HTTPS; undefined for HTTP. */
  readonly certificate?: Certificate | undefined
  readonly logger?: NonNullable<FastifyServerOptions['loggerInstance']>
}

export interface AppOptions extends CommonOptions {
  readonly lifecycle: Lifecycle
  readonly metrics: Metrics
  /** Where requests come from. Default: the network. */
  readonly origin?: Origin
}

export interface WorkerAppOptions extends CommonOptions {
  readonly lifecycle: Lifecycle<PredictionServices>
  readonly metrics: RequestMetrics
  /** Serves a request in another process. */
  readonly forward: RequestListener
  /** Called for each prediction: whether it is served here, and not forwarded like all other requests. */
  readonly predicts: () => boolean
}

/** Response headers that pages of other origins may read. */
const exposedHeaders = ['etag', 'location', 'x-request-id', 'retry-after', 'ratelimit', 'ratelimit-policy']

/** The whole application. */
export async function buildApp(options: AppOptions): Promise<FastifyInstance> {
  const { config, access, certificate, inference, lifecycle, metrics, origin = 'network' } = options
  const limits = origin === 'workers' ? limitsForWorkers(config) : config
  const { app, readBody } = await newApp(options, origin, (handler, connections) =>
    createListener(limits, origin === 'workers' ? undefined : certificate, connections, handler),
  )
  await app.register(swagger, {
    openapi: openapiDocument,
    transformObject: (documents) =>
      'openapiObject' in documents ? withComponents(documents.openapiObject) : documents.swaggerObject,
  })
  await app.register(docs)
  const rejectOtherMethods = collectMethods(app)
  rejectUnknownParameters(app)
  await app.register(rootRoute)
  await app.register(predictRoutes({ access, lifecycle, inference, limits: config }))
  await app.register(taskRoutes(lifecycle, config, readBody))
  await app.register(versionRoutes(lifecycle))
  await app.register(exampleUploadRoute(lifecycle, config))
  await app.register(exampleRoutes(lifecycle))
  await app.register(jobRoutes(lifecycle, access))
  await app.register(suggestionRoutes(lifecycle))
  await app.register(tenantRoutes(lifecycle))
  await app.register(healthRoutes(lifecycle, metrics))
  rejectOtherMethods()
  return app
}

/** The application of an HTTP worker: the routes of predictions. All other requests are forwarded as they are. */
export async function buildWorkerApp(options: WorkerAppOptions): Promise<FastifyInstance> {
  const { config, access, certificate, inference, lifecycle, forward, predicts } = options
  const { app } = await newApp(options, 'network', (handler, connections) =>
    createListener(config, certificate, connections, (request, response) =>
      (isPrediction(request) && predicts() ? handler : forward)(request, response),
    ),
  )
  rejectUnknownParameters(app)
  await app.register(predictRoutes({ access, lifecycle, inference, limits: config }))
  return app
}

/** Whether a route of predictions serves the request for certain. */
const isPrediction = ({ method, url = '' }: IncomingMessage): boolean =>
  method === 'POST' && /^\/(tasks\/[^/?%]+\/)?predict(\?|$)/.test(url)

type NewListener = (handler: RequestListener, connections: Connections) => Server

/** An application without routes. */
async function newApp(
  { config, costs, lifecycle, metrics, access, inference, certificate, logger }: AppOptions | WorkerAppOptions,
  origin: Origin,
  newListener: NewListener,
) {
  const headers = responseHeaders(certificate !== undefined)
  const connections = new Connections(problemWriter(headers, logger), origin)
  const app = fastify({
    serverFactory: (handler) => newListener(handler, connections),
    ...(logger ? { loggerInstance: logger } : { logger: false }),
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    bodyLimit: config.maxBodyBytes,
    genReqId: requestIdOf,
    // No hook runs for such a request.
    frameworkErrors: (error, request, reply) => {
      reply.headers({ ...headers, 'x-request-id': request.id, connection: 'close' })
      request.log.info({ method: request.method, reason: error.message }, 'request rejected')
      return sendProblem(error, request, reply)
    },
    clientErrorHandler: (error, socket) => connections.failed(socket, error),
    routerOptions: { maxParamLength: 1_000 },
    // The server closes its connections then, but still serves requests that arrive on an open one.
    return503OnClosing: false,
  }).withTypeProvider<TypeBoxTypeProvider>()
  app.setValidatorCompiler(validatorCompiler)
  app.setErrorHandler(sendProblem)
  app.setNotFoundHandler((request, reply) =>
    sendProblem(new Problem('not_found', notFoundDetail(request)), request, reply),
  )
  app.removeAllContentTypeParsers()
  // The body of a DELETE request has no meaning (RFC 9110, section 9.3.5).
  app.addHttpMethod('DELETE', { hasBody: false, overrideExisting: true })
  addResponseHeaders(app, headers)
  app.addHook('onRequest', async (request) => checkHeaders(request.raw))
  // Before authentication: a browser sends its preflight request without the API key.
  if (config.corsOrigins.length > 0) await app.register(cors, { delegator: corsOf(config.corsOrigins) })
  identifyCallers(app, { access, inference, corsOrigins: config.corsOrigins, anyHost: config.insecure })
  waitForTurns(app, new LoopTurns())
  addBodyHooks(app)
  const readBody = bodyReader(reserveBodyMemory(app, costs.pools.bodies))
  addJsonParser(app, readBody, config.maxInputs, costs.work)
  app.addHook('onSend', async (_request, reply) => {
    // An idle connection would delay the shutdown.
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

  return { app, readBody }
}

/** What is wrong with an address that no route has, and where to look. */
function notFoundDetail({ method, url }: FastifyRequest): string {
  const [path = ''] = url.split('?', 1)
  const advice = /.\/$/.test(path)
    ? 'remove the slash at its end'
    : 'GET / lists the entry points, and /docs describes every route'
  return `there is no route ${method} ${shortened(path, 200)}; ${advice}`
}

/** Only preflight requests get CORS responses. Other OPTIONS requests get a 405, as on a server without CORS. */
const corsOf =
  (origins: readonly string[]) =>
  async ({ method, headers }: FastifyRequest): Promise<FastifyCorsOptions> => ({
    origin: [...origins],
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    exposedHeaders,
    preflight: method === 'OPTIONS' && headers.origin !== undefined && 'access-control-request-method' in headers,
  })
