// The routes of tenants and their API keys, for the operator. A tenant can read its own limits and usage.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import type { Static } from 'typebox'
import { Problem, quoted } from '../../problem.js'
import { removeTenant } from '../../tasks/removal.js'
import { actorOf } from '../../tenants/audit.js'
import type { Key } from '../../tenants/keys.js'
import { defaults, operator, type Tenant, type TenantSettings, unknownTenant } from '../../tenants/tenant.js'
import type { Usage } from '../../tenants/usage.js'
import { callerOf, recordChange, recordIfUnknown } from '../callers.js'
import { pageOf } from '../page.js'
import { locationHeader, noContent, problemResponses, responseOf } from '../schemas/common.js'
import {
  createdKeySchema,
  keyListSchema,
  keyOwnerParams,
  keyParams,
  type keySchema,
  newKeyRequest,
  tenantListQuery,
  tenantListSchema,
  tenantParams,
  tenantSchema,
  tenantSettings,
} from '../schemas/tenants.js'
import type { Lifecycle } from '../services.js'

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
          summary: 'Lists the tenants in the order of their ids, in pages',
          querystring: tenantListQuery,
          response: { 200: responseOf(tenantListSchema, 'A page of tenants'), ...problemResponses(400, 401, 403, 503) },
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
          summary: 'Describes a tenant: its limits, share and usage; for the operator and the tenant itself',
          params: tenantParams,
          response: { 200: responseOf(tenantSchema, 'The tenant'), ...problemResponses(400, 401, 403, 404, 429, 503) },
        },
      },
      async (request) => {
        const { tenants } = lifecycle.services
        const { owner } = callerOf(request)
        const { id } = request.params
        if (owner !== operator && owner !== id)
          throw new Problem(
            'forbidden',
            `the API key belongs to "${owner}" and cannot read tenant ${quoted(id)}; use an API key of that tenant or of the operator`,
          )
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
          summary: 'Creates a tenant, or replaces all of its settings',
          description:
            'PUT replaces all settings: a limit that the body does not name is removed, and the share becomes 1. Use PATCH ' +
            'to change some settings and keep the others. Returns 409 with the code `tenant_leaving` while a tenant with ' +
            'this id is being deleted.',
          params: tenantParams,
          body: tenantSettings,
          response: {
            200: responseOf(tenantSchema, 'The settings were replaced'),
            201: responseOf(tenantSchema, 'The tenant is new', locationHeader),
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
          summary: 'Changes some settings of a tenant; those that the body does not name stay as they are',
          params: tenantParams,
          body: tenantSettings,
          response: {
            200: responseOf(tenantSchema, 'The settings were changed'),
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
        // If the outcome is unknown, so are the other settings of the tenant.
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
          summary: 'Deletes a tenant with its API keys and tasks',
          description:
            'The API keys of the tenant stop working at once, and its uploads are rejected. Running predictions may still ' +
            'finish. The response is sent once the last task is deleted and the id is free. If the request is interrupted, ' +
            'the server continues the deletion; you can also send the request again. A tenant created later with the same ' +
            'id is a new one: it does not get the old API keys or tasks.',
          params: tenantParams,
          response: { 204: noContent('The tenant was deleted'), ...problemResponses(400, 401, 403, 404, 503) },
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
          summary: 'Lists the API keys of a tenant, without their secrets',
          params: keyOwnerParams,
          response: { 200: responseOf(keyListSchema, 'The API keys'), ...problemResponses(400, 401, 403, 404, 503) },
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
          summary: 'Creates an API key of a tenant; only this response contains the secret',
          description:
            'The other API keys of the tenant stay valid. A 503 with the code `outcome_unknown` has the id of the new key as ' +
            '`key`: the key may exist, but nobody has its secret. Revoke it to be sure.',
          params: keyOwnerParams,
          body: newKeyRequest,
          response: {
            201: responseOf(createdKeySchema, 'The API key was created'),
            ...problemResponses(400, 401, 403, 404, 413, 415, 503),
          },
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
        const response = apiKeyResponse(key)
        recordChange(request, { ...change, object: key.id, after: response })
        reply.code(201).header('cache-control', 'no-store')
        return { ...response, key: text }
      },
    )

    app.delete(
      '/tenants/:id/keys/:key_id',
      {
        config,
        schema: {
          operationId: 'revokeKey',
          tags,
          summary: 'Revokes an API key at once',
          params: keyParams,
          response: { 204: noContent('The API key was revoked'), ...problemResponses(400, 401, 403, 404, 409, 503) },
        },
      },
      async (request, reply) => {
        const { id, key_id } = request.params
        const change = { action: 'key.revoke', tenant: id, object: key_id } as const
        await recordIfUnknown(request, lifecycle.services.keys.revoke(id, key_id), () => change)
        recordChange(request, change)
        return reply.code(204).send(null)
      },
    )
  }

/** The settings that a body names, completed with other ones. */
function settingsOf({ limits = {}, share }: Static<typeof tenantSettings>, others: TenantSettings): TenantSettings {
  const {
    tasks = others.limits.tasks,
    bytes = others.limits.bytes,
    examples = others.limits.examples,
    requests_per_second: requestsPerSecond = others.limits.requestsPerSecond,
    tokens_per_second: tokensPerSecond = others.limits.tokensPerSecond,
  } = limits
  return { limits: { tasks, bytes, examples, requestsPerSecond, tokensPerSecond }, share: share ?? others.share }
}

const changeOf = (id: string, after: object) => ({ action: 'tenant.put', tenant: id, object: id, after }) as const

/** Writes the line of the audit trail for a tenant that was created or changed. */
function recordSettings(request: FastifyRequest, tenant: Tenant, previous: Tenant | undefined): void {
  const settings = ({ limits, share }: Tenant) => ({ limits, share })
  recordChange(request, {
    ...changeOf(tenant.id, settings(tenant)),
    incarnation: tenant.incarnation,
    ...(previous && { before: settings(previous) }),
  })
}

function tenantResponse({ id, created, share, limits }: Tenant, usage: Usage): Static<typeof tenantSchema> {
  const { tasks, bytes, examples, requestsPerSecond, tokensPerSecond } = limits
  return {
    id,
    created,
    share,
    limits: { tasks, bytes, examples, requests_per_second: requestsPerSecond, tokens_per_second: tokensPerSecond },
    usage: { tasks: usage.tasks, bytes: usage.bytes, examples: usage.examples },
  }
}

const apiKeyResponse = ({ id, created, expires, description }: Key): Static<typeof keySchema> => ({
  id,
  created,
  expires,
  description,
})
