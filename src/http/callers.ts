// Who asks, before anything else is done for a request: whether it may use the route, and how fast.

import { isIP } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Problem, quoted } from '../problem.js'
import type { Access, Caller } from '../tenants/access.js'
import { actorOf, audit, auditIfUnknown, type Change } from '../tenants/audit.js'
import type { Rates } from '../tenants/rates.js'
import { operator, scraper } from '../tenants/tenant.js'

/** Who may use a route: tenants and the operator, unless its config says otherwise. */
export type Audience = 'everybody' | 'tenants' | 'operator' | 'scraper'

declare module 'fastify' {
  interface FastifyRequest {
    /** Null where nobody has to say who asks. */
    caller: Caller | null
  }
  interface FastifyContextConfig {
    audience?: Audience
  }
}

export interface CallerOptions {
  readonly access: Access
  readonly rates: Rates
  /** Origins whose pages may call. */
  readonly corsOrigins: readonly string[]
  /** Without keys the server may be asked under whatever name. */
  readonly anyHost: boolean
}

export function identifyCallers(app: FastifyInstance, { access, rates, corsOrigins, anyHost }: CallerOptions): void {
  app.decorateRequest('caller', null)
  app.addHook('onRequest', async (request) => {
    const audience = request.routeOptions.config.audience ?? 'tenants'
    if (audience === 'everybody') return
    const caller = access.identify(request.headers.authorization)
    if (caller.key === null) {
      rejectForeignPages(request, corsOrigins)
      if (!anyHost) rejectForeignHosts(request)
    }
    request.caller = caller
    checkAudience(caller, audience)
    if (caller.tenant) rates.take(caller.tenant, 'requests', 1)
  })
  app.addHook('preHandler', async ({ caller, body }) => {
    // The body may have taken as long as a client likes to send it.
    if (caller !== null && body !== undefined) access.checkAgain(caller)
  })
  app.addHook('onSend', async (request, reply) => {
    if (request.caller?.tenant) addRateHeaders(reply, rates.statuses(request.caller.tenant))
  })
}

/** Who asks, on a route that is not for everybody. */
export function callerOf({ caller }: FastifyRequest): Caller {
  if (caller === null) throw new Error('the route is for everybody, and asks who calls')
  return caller
}

/** The line of the audit trail for a change that a request made. */
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
      'this server has no keys; `propetl tenants create-key operator` makes the first, which manages tenants',
    )
  const may = owner === operator || (owner === scraper ? audience === 'scraper' : audience === 'tenants')
  if (may) return
  throw new Problem(
    'forbidden',
    `the key is of "${owner}"; this is for ${audience === 'tenants' ? "tenants' keys and the operator's" : "the operator's key"}`,
  )
}

/**
 * Where no key is asked for, any page in the user's browser could send requests to a server of the same machine. Browsers
 * tell of such requests by Origin and Sec-Fetch-Site; other clients send neither.
 */
function rejectForeignPages({ headers }: FastifyRequest, corsOrigins: readonly string[]): void {
  const { origin, host } = headers
  if (origin !== undefined && corsOrigins.includes(origin)) return
  if (origin === undefined ? headers['sec-fetch-site'] !== 'cross-site' : isOriginOf(origin, host)) return
  throw new Problem(
    'forbidden',
    `pages of ${origin === undefined ? 'other sites' : quoted(origin)} may not call this server; see --cors-origins`,
  )
}

/** A proxy may speak another scheme to the server than browsers speak to it. */
function isOriginOf(origin: string, host = ''): boolean {
  if (!/^https?:\/\//.test(origin)) return false
  const own = origin.replace(/\/\/.*/, `//${host}`)
  return URL.canParse(origin) && URL.canParse(own) && new URL(origin).host === new URL(own).host
}

/**
 * A page of a site whose name its owner lets mean this machine (DNS rebinding) calls the server as if it were its own.
 * Such a request bears that name; who means this machine says localhost, or an address.
 */
function rejectForeignHosts({ headers: { host } }: FastifyRequest): void {
  if (host === undefined || isLocalName(host)) return
  throw new Problem(
    'forbidden',
    `without keys this server is asked as localhost or by its address, not as ${quoted(host)}; see --insecure`,
  )
}

function isLocalName(host: string): boolean {
  const address = `http://${host}`
  const name = URL.canParse(address) ? new URL(address).hostname : ''
  return name === 'localhost' || name.endsWith('.localhost') || isIP(name.replace(/^\[|\]$/g, '')) !== 0
}

/** RateLimit and RateLimit-Policy as of draft-ietf-httpapi-ratelimit-headers-10. */
function addRateHeaders(reply: FastifyReply, statuses: ReturnType<Rates['statuses']>): void {
  if (statuses.length === 0) return
  const items = (write: (status: (typeof statuses)[number]) => string) => statuses.map(write).join(', ')
  reply.header(
    'ratelimit-policy',
    items(({ rate, quota }) => `"${rate}";q=${quota};qu="${rate}";w=1`),
  )
  reply.header(
    'ratelimit',
    items(({ rate, remaining, fullAfter }) => `"${rate}";r=${remaining};t=${fullAfter}`),
  )
}
