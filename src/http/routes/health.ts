// The routes of health reports and metrics.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { sharesOfServer } from '../../costs/costs.js'
import { abandonedThreadCount } from '../../engine/abandoned-threads.js'
import type { LossCause } from '../../engine/engine-lost.js'
import type { Outage } from '../../engine/supervised-engine.js'
import { Problem } from '../../problem.js'
import { secondsBehind } from '../../store/store.js'
import { operator } from '../../tenants/tenant.js'
import type { Metrics } from '../metrics.js'
import { problemResponses, responseOf } from '../schemas/common.js'
import { healthReport, liveReport } from '../schemas/health.js'
import type { Lifecycle } from '../services.js'

/** Without the path of the model, because the route is public. */
const withoutPrototype =
  'the model has no prototype, so only tasks without a mask are served; make one with: ' +
  'propetl train DATA... --model-dir MODEL --out DIR'

const anyone = { config: { audience: 'public' } } as const
/** Tells the OpenAPI document that a route needs no API key. */
const withoutKey = { security: [] }

export const healthRoutes =
  (lifecycle: Lifecycle, metrics: Metrics): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/health/live',
      {
        ...anyone,
        schema: {
          ...withoutKey,
          operationId: 'live',
          tags: ['operation'],
          summary: 'Says that the process runs',
          response: { 200: responseOf(liveReport, 'The process runs') },
        },
      },
      async () => ({ status: 'live' as const }),
    )

    app.get(
      '/health/ready',
      {
        ...anyone,
        schema: {
          ...withoutKey,
          operationId: 'ready',
          tags: ['operation'],
          summary: 'Says whether the server can serve predictions, and what it serves',
          response: { 200: responseOf(healthReport, 'The server is ready'), ...problemResponses(503) },
        },
      },
      async () => {
        if (lifecycle.stopping) throw new Problem('shutting_down', 'the server is shutting down')
        const { costs, engines, registry, store, workers } = lifecycle.services
        if (engines.available === 0) throw new Problem('engine_lost', describeAbsence(engines.outage))
        if (store.failure !== undefined) throw new Problem('storage_unavailable', store.failure)
        const { backbone } = engines.all[0].options
        const { type, dims, digest } = backbone
        const { prototype } = registry.model
        const { following } = store
        return {
          status: 'ready' as const,
          ...engines.choice,
          engines: {
            configured: engines.all.length,
            available: engines.available,
            left_behind: abandonedThreadCount(),
          },
          model: {
            type,
            layers: dims.layers,
            hidden_size: dims.hiddenSize,
            digest,
          },
          ...(prototype
            ? { prototype: { kind: prototype.module.kind, digest: prototype.digest } }
            : { advice: withoutPrototype }),
          tasks: registry.countOf(operator),
          memory: {
            limit_bytes: costs.memory.bytes,
            source: costs.memory.source,
            shares_bytes: {
              ...sharesOfServer(costs),
              ...(costs.learning.all > 0 && { learning: costs.learning.all }),
            },
          },
          ...(workers && { http_workers: { configured: workers.configured, available: workers.available } }),
          ...(following && {
            database: {
              connected: following.connected,
              state: following.state,
              behind_seconds: secondsBehind(following),
              unwritten_bytes: following.mirror.unwrittenBytes,
            },
          }),
        }
      },
    )

    app.get(
      '/metrics',
      {
        config: { audience: 'scraper' },
        schema: {
          operationId: 'metrics',
          tags: ['operation'],
          summary: 'Returns Prometheus metrics; for API keys of the operator and of `metrics`',
          response: {
            200: { description: 'The metrics', content: { 'text/plain': { schema: Type.String() } } },
            ...problemResponses(401, 403, 503),
          },
        },
      },
      async (_request, reply) => reply.type(metrics.registry.contentType).send(await metrics.text()),
    )
  }

/** Without details, because the route is public. The log has them. */
function describeAbsence(outage: Outage | undefined): string {
  if (outage === undefined) return 'no engine is available'
  const lost = `no engine is available: ${lossTexts[outage.cause]}`
  switch (outage.notReplaced?.cause) {
    case undefined:
      return `${lost}; a new one is starting`
    case 'start_failed':
      return `${lost}; a new one failed to start, and the server will try again`
    case 'left_behind':
      return `${lost}; abandoned threads leave no room for a new one. If this lasts, the process exits`
  }
}

const lossTexts: Readonly<Record<LossCause, string>> = {
  hung: 'the last one hung',
  failed: 'the last one failed',
  out_of_memory: 'the last one ran out of memory',
  provider_lost: 'the last one lost its device',
}
