// Tenants and their keys as resources, for the operator. A tenant reads its own limits and what it has used of them.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import type { Static } from 'typebox'
import { Problem } from '../../problem.js'
import { removeTenant } from '../../tasks/removal.js'
import { actorOf } from '../../tenants/audit.js'
import type { Key } from '../../tenants/keys.js'
import { defaults, operator, type Tenant, type TenantSettings, unknownTenant } from '../../tenants/tenant.js'
import type { Usage } from '../../tenants/usage.js'
import { callerOf, recordChange, recordIfUnknown } from '../callers.js'
import { pageOf } from '../page.js'
import { locationHeader, noContent, problemResponses } from '../schemas.js'
import type { Lifecycle } from '../services.js'
import {
  type keyAnswer,
  keyBody,
  keyListAnswer,
  keyParams,
  newKeyAnswer,
  ownerParams,
  tenantAnswer,
  tenantBody,
  tenantListAnswer,
  tenantListQuery,
  tenantParams,
} from '../tenant-schemas.js'

export const tenantRoutes =
  (lifecycle: Lifecycle): FastifyPluginAsyncTypebox =>
  async (app) => {
    const config = { audience: 'operator' } as const
    const tags = ['tenants']

    app.get(
      '/tenants',
      {
        config,
        schema: {
          operationId: 'listTenants',
          tags,
          summary: 'Tenants in the order of their ids, page by page',
          querystring: tenantListQuery,
          response: { 200: tenantListAnswer, ...problemResponses(400, 401, 403, 503) },
        },
      },
      async (request) => {
        const { tenants } = lifecycle.services
        const { after = '', limit = 100 } = request.query
        const { page, next } = pageOf(limit, tenants.list(after, limit + 1))
        return { tenants: page.map((tenant) => tenantResponse(tenant, tenants.usage(tenant.id))), next }
      },
    )

    app.get(
      '/tenants/:id',
      {
        schema: {
          operationId: 'describeTenant',
          tags,
          summary: "A tenant's limits, and what it has used of them; for the operator and the tenant itself",
          params: tenantParams,
          response: { 200: tenantAnswer, ...problemResponses(400, 401, 403, 404, 429, 503) },
        },
      },
      async (request) => {
        const { tenants } = lifecycle.services
        const { owner } = callerOf(request)
        const { id } = request.params
        if (owner !== operator && owner !== id)
          throw new Problem('forbidden', `the key is of "${owner}"; it reads /tenants/${owner} alone`)
        return tenantResponse(tenants.get(id), tenants.usage(id))
      },
    )

    app.put(
      '/tenants/:id',
      {
        config,
        schema: {
          operationId: 'putTenant',
          tags,
          summary: 'Makes a tenant, or replaces its limits',
          description:
            'A limit that the body does not name is lifted: use PATCH to change some limits and keep the others. Answered 409 ' +
            '`tenant_leaving` while a tenant of this id is being removed.',
          params: tenantParams,
          body: tenantBody,
          response: {
            200: { ...tenantAnswer, description: 'Changed' },
            201: { ...tenantAnswer, description: 'New', headers: locationHeader },
            ...problemResponses(400, 401, 403, 409, 413, 415, 503),
          },
        },
      },
      async (request, reply) => {
        const { tenants } = lifecycle.services
        const { id } = request.params
        const settings = settingsOf(request.body, defaults)
        const { tenant, previous } = await recordIfUnknown(
          request,
          tenants.set(id, () => settings),
          () => changeOf(id, settings),
        )
        recordSettings(request, tenant, previous)
        reply.code(previous ? 200 : 201)
        if (!previous) reply.header('location', `/tenants/${id}`)
        return tenantResponse(tenant, tenants.usage(id))
      },
    )

    app.patch(
      '/tenants/:id',
      {
        config,
        schema: {
          operationId: 'patchTenant',
          tags,
          summary: "Changes some of a tenant's limits, or its share; what the body does not name stays as it is",
          params: tenantParams,
          body: tenantBody,
          response: {
            200: { ...tenantAnswer, description: 'Changed' },
            ...problemResponses(400, 401, 403, 404, 409, 413, 415, 503),
          },
        },
      },
      async (request) => {
        const { tenants } = lifecycle.services
        const { id } = request.params
        const patched = tenants.set(id, (current) => {
          if (current === undefined) throw unknownTenant(id)
          return settingsOf(request.body, current)
        })
        // What the tenant has beside that is not known here.
        const { tenant, previous } = await recordIfUnknown(request, patched, () => changeOf(id, request.body))
        recordSettings(request, tenant, previous)
        return tenantResponse(tenant, tenants.usage(id))
      },
    )

    app.delete(
      '/tenants/:id',
      {
        config,
        schema: {
          operationId: 'deleteTenant',
          tags,
          summary: 'Removes a tenant with its keys and tasks',
          description:
            'Its keys stop working at once, and what it uploads is refused; predictions under way may still be answered. The ' +
            'answer comes once its last task is gone and its id is free. A removal that was cut off goes on with the same ' +
            'request, or by itself. What is made under the same id later is another tenant: no key and no task comes back.',
          params: tenantParams,
          response: { 204: noContent('Removed'), ...problemResponses(400, 401, 403, 404, 503) },
        },
      },
      async (request, reply) => {
        const { tenants, registry } = lifecycle.services
        const { id } = request.params
        const stores = { tenants, tasks: registry.store }
        await removeTenant(stores, id, { actor: actorOf(callerOf(request)), logger: request.log })
        return reply.code(204).send(null)
      },
    )

    app.get(
      '/tenants/:id/keys',
      {
        config,
        schema: {
          operationId: 'listKeys',
          tags,
          summary: "A tenant's keys, without what is secret of them",
          params: ownerParams,
          response: { 200: keyListAnswer, ...problemResponses(400, 401, 403, 404, 503) },
        },
      },
      async (request) => ({ keys: lifecycle.services.keys.list(request.params.id).map(apiKeyResponse) }),
    )

    app.post(
      '/tenants/:id/keys',
      {
        config,
        schema: {
          operationId: 'createKey',
          tags,
          summary: 'Makes a key of a tenant, beside those that it has; the answer alone tells it',
          description:
            'A 503 with the code `outcome_unknown` has the id of the key as `key`: it may exist, nobody knows its text, ' +
            'and revoking it does no harm.',
          params: ownerParams,
          body: keyBody,
          response: { 201: newKeyAnswer, ...problemResponses(400, 401, 403, 404, 413, 415, 503) },
        },
      },
      async (request, reply) => {
        const { expires = null, description = null } = request.body
        const { id } = request.params
        const change = { action: 'key.create', tenant: id } as const
        const { key, text } = await recordIfUnknown(
          request,
          lifecycle.services.keys.create(id, { expires, description }),
          ({ details }) => ({ ...change, object: String(details.key) }),
        )
        const answer = apiKeyResponse(key)
        recordChange(request, { ...change, object: key.id, after: answer })
        reply.code(201).header('cache-control', 'no-store')
        return { ...answer, key: text }
      },
    )

    app.delete(
      '/tenants/:id/keys/:key',
      {
        config,
        schema: {
          operationId: 'revokeKey',
          tags,
          summary: 'Revokes a key, at once',
          params: keyParams,
          response: { 204: noContent('Revoked'), ...problemResponses(400, 401, 403, 404, 409, 503) },
        },
      },
      async (request, reply) => {
        const { id, key } = request.params
        const change = { action: 'key.revoke', tenant: id, object: key } as const
        await recordIfUnknown(request, lifecycle.services.keys.revoke(id, key), () => change)
        recordChange(request, change)
        return reply.code(204).send(null)
      },
    )
  }

/** What a body names, and of the rest what was there. */
function settingsOf({ limits = {}, share }: Static<typeof tenantBody>, others: TenantSettings): TenantSettings {
  const {
    tasks = others.limits.tasks,
    bytes = others.limits.bytes,
    requests_per_second: requestsPerSecond = others.limits.requestsPerSecond,
    tokens_per_second: tokensPerSecond = others.limits.tokensPerSecond,
  } = limits
  return { limits: { tasks, bytes, requestsPerSecond, tokensPerSecond }, share: share ?? others.share }
}

const changeOf = (id: string, after: object) => ({ action: 'tenant.put', tenant: id, object: id, after }) as const

/** The line of the audit trail for a tenant that was made or changed. */
function recordSettings(request: FastifyRequest, tenant: Tenant, previous: Tenant | undefined): void {
  const settings = ({ limits, share }: Tenant) => ({ limits, share })
  recordChange(request, {
    ...changeOf(tenant.id, settings(tenant)),
    incarnation: tenant.incarnation,
    ...(previous && { before: settings(previous) }),
  })
}

function tenantResponse({ id, created, share, limits }: Tenant, usage: Usage): Static<typeof tenantAnswer> {
  const { tasks, bytes, requestsPerSecond, tokensPerSecond } = limits
  return {
    id,
    created,
    share,
    limits: { tasks, bytes, requests_per_second: requestsPerSecond, tokens_per_second: tokensPerSecond },
    usage: { tasks: usage.tasks, bytes: usage.bytes },
  }
}

const apiKeyResponse = ({ id, created, expires, description }: Key): Static<typeof keyAnswer> => ({
  id,
  created,
  expires,
  description,
})
