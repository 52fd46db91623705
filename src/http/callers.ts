// Authentication, before anything else is done for a request: who calls, may it use the route, and is it within its rate?

import { isIP } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Inference } from '../inference/inference.js'
import { Problem, quoted } from '../problem.js'
import type { Access, Caller } from '../tenants/access.js'
import { actorOf, audit, auditIfUnknown, type Change } from '../tenants/audit.js'
import type { RateStatus } from '../tenants/rates.js'
import { operator, scraper } from '../tenants/tenant.js'

/** Who may use a route. The default is tenants and the operator. */
export type Audience = 'public' | 'tenants' | 'operator' | 'scraper'

declare module 'fastify' {
  interface FastifyRequest {
    /** Null on public routes. */
    caller: Caller | null
  }
  interface FastifyContextConfig {
    audience?: Audience
  }
}

export interface CallerOptions {
  readonly access: Access
  readonly inference: Pick<Inference, 'takeRequest' | 'statuses'>
  /** Origins whose pages may call the server. */
  readonly corsOrigins: readonly string[]
  /** Whether a server without API keys accepts any Host header. */
  readonly anyHost: boolean
}

export function identifyCallers(
  app: FastifyInstance,
  { access, inference, corsOrigins, anyHost }: CallerOptions,
): void {
  app.decorateRequest('caller', null)
  app.addHook('onRequest', async (request) => {
    const audience = request.routeOptions.config.audience ?? 'tenants'
    if (audience === 'public') return
    const caller = access.identify(request.headers.authorization)
    if (caller.key === null) {
      rejectForeignPages(request, corsOrigins)
      if (!anyHost) rejectForeignHosts(request)
    }
    request.caller = caller
    checkAudience(caller, audience)
    await inference.takeRequest(caller)
  })
  app.addHook('preHandler', async ({ caller, body }) => {
    // The body may have arrived slowly, and the tenant may have been deleted meanwhile.
    if (caller !== null && body !== undefined) access.checkAgain(caller)
  })
  app.addHook('onSend', async ({ caller }, reply) => {
    if (caller !== null) addRateHeaders(reply, inference.statuses(caller))
  })
}

/** The caller of a route that is not public. */
export function callerOf({ caller }: FastifyRequest): Caller {
  if (caller === null) throw new Error('a public route asked for its caller')
  return caller
}

/** Writes the line of the audit trail for a change that a request made. */
export const recordChange = (request: FastifyRequest, change: Change): void =>
  audit(request.log, actorOf(callerOf(request)), change)

/** Waits for a change that a request makes, and writes a line of the audit trail if its outcome is unknown. */
export const recordIfUnknown = <T>(
  request: FastifyRequest,
  change: Promise<T>,
  tried: (problem: Problem) => Change,
): Promise<T> => auditIfUnknown(request.log, actorOf(callerOf(request)), change, tried)

function checkAudience(caller: Caller, audience: Audience): void {
  const { owner } = caller
  if (audience === 'operator' && caller.key === null)
    throw new Problem(
      'forbidden',
      'this server has no API keys; to manage tenants, create one with `propetl tenants create-key operator`',
    )
  const may = owner === operator || (owner === scraper ? audience === 'scraper' : audience === 'tenants')
  if (may) return
  throw new Problem(
    'forbidden',
    `the API key belongs to "${owner}"; this route needs an API key of ${audience === 'tenants' ? 'a tenant or the operator' : 'the operator'}`,
  )
}

/**
 * Rejects pages of other sites. Without API keys, any page in the user's browser could send requests to a server on the
 * same machine. Browsers mark such requests with Origin and Sec-Fetch-Site; other clients send neither.
 */
function rejectForeignPages({ headers }: FastifyRequest, corsOrigins: readonly string[]): void {
  const { origin, host } = headers
  if (origin !== undefined && corsOrigins.includes(origin)) return
  if (origin === undefined ? headers['sec-fetch-site'] !== 'cross-site' : isOriginOf(origin, host)) return
  throw new Problem(
    'forbidden',
    `pages of ${origin === undefined ? 'other sites' : quoted(origin)} may not call this server; allow their origin with --cors-origins`,
  )
}

/** Ignores the scheme: a proxy may use HTTPS with browsers and HTTP with the server. */
function isOriginOf(origin: string, host = ''): boolean {
  if (!/^https?:\/\//.test(origin)) return false
  const own = origin.replace(/\/\/.*/, `//${host}`)
  return URL.canParse(origin) && URL.canParse(own) && new URL(origin).host === new URL(own).host
}

/**
 * Rejects requests under another host name. A site whose name resolves to this machine (DNS rebinding) could call the server
 * as its own. Such a request has that name as its Host; honest ones have localhost or an address.
 */
function rejectForeignHosts({ headers: { host } }: FastifyRequest): void {
  if (host === undefined || isLocalName(host)) return
  throw new Problem(
    'forbidden',
    `a server without API keys accepts only localhost or an IP address as its host, not ${quoted(host)}; create an API key, or see --insecure`,
  )
}

function isLocalName(host: string): boolean {
  const address = `http://${host}`
  const name = URL.canParse(address) ? new URL(address).hostname : ''
  return name === 'localhost' || name.endsWith('.localhost') || isIP(name.replace(/^\[|\]$/g, '')) !== 0
}

/** Adds RateLimit and RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers-10. */
function addRateHeaders(reply: FastifyReply, statuses: readonly RateStatus[]): void {
  if (statuses.length === 0) return
  const items = (write: (status: RateStatus) => string) => statuses.map(write).join(', ')
  reply.header(
    'ratelimit-policy',
    items(({ rate, quota }) => `"${rate}";q=${quota};qu="${rate}";w=1`),
  )
  reply.header(
    'ratelimit',
    items(({ rate, remaining, fullAfter }) => `"${rate}";r=${remaining};t=${fullAfter}`),
  )
}
