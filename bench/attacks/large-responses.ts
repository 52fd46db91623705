// Attacks by large responses to small requests, and by responses that the client does not read.

import { type Attack, anyResponse, many, send, unread } from './attack.js'
import type { AttackTarget } from './target.js'
import { attackTask, labelCounts, wideHeads } from './task-files.js'

/** A request for the largest file that the server accepts. */
async function largeDownload(target: AttackTarget): Promise<Buffer> {
  await target.uploadLargest('large', wideHeads, (labels) => attackTask({ labels }))
  return target.get('/tasks/large/file')
}

/** A request for the longest description of a task. */
async function largeDescription(target: AttackTarget): Promise<Buffer> {
  await target.uploadLargest('labels', labelCounts, (labels) => attackTask({ labels, dense: 1 }))
  return target.get('/tasks/labels')
}

/** A request for the longest page of the list of tasks. */
async function longPage(target: AttackTarget): Promise<Buffer> {
  for (let version = 0; version < 1_000; version++) await target.upload(`page-${version}`, attackTask({ version }))
  return target.get('/tasks?limit=1000')
}

export const largeResponseAttacks: readonly Attack[] = [
  {
    name: 'downloads',
    sends: 'downloads of a file of 16 MB',
    by: 'tenant',
    connections: 8,
    allowed: anyResponse,
    prepare: async (target) => send(await largeDownload(target)),
  },
  {
    name: 'downloads-unread',
    sends: 'downloads of a file of 16 MB, without reading the responses',
    by: 'tenant',
    connections: 300,
    allowed: anyResponse,
    prepare: async (target) => unread(await largeDownload(target)),
  },
  {
    name: 'downloads-pipelined',
    sends: '100 downloads of 16 MB at once on a connection, without reading the responses',
    by: 'tenant',
    connections: 2,
    allowed: anyResponse,
    prepare: async (target) => unread(await largeDownload(target), 100),
  },
  {
    name: 'descriptions',
    sends: 'requests for the description of a task with 100,000 labels',
    by: 'tenant',
    connections: 8,
    allowed: anyResponse,
    prepare: async (target) => send(await largeDescription(target)),
  },
  {
    name: 'descriptions-unread',
    sends: 'requests for the description of a task with 100,000 labels, without reading the responses',
    by: 'tenant',
    connections: 500,
    allowed: anyResponse,
    prepare: async (target) => unread(await largeDescription(target), 4),
  },
  {
    name: 'pages',
    sends: 'requests for a list of 1,000 tasks',
    by: 'tenant',
    connections: 32,
    allowed: anyResponse,
    prepare: async (target) => send(await longPage(target)),
  },
  {
    name: 'pages-unread',
    sends: 'requests for a list of 1,000 tasks, 10 at once on a connection, without reading the responses',
    by: 'tenant',
    connections: 2_000,
    allowed: anyResponse,
    prepare: async (target) => unread(await longPage(target), 10),
  },
  {
    name: 'etag-lists',
    sends: 'If-None-Match and If-Match headers with 15 KB of versions',
    by: 'tenant',
    connections: 64,
    allowed: anyResponse,
    prepare: (target) => {
      const tags = many(4_900, () => '""').join(',')
      return send(
        target.get('/tasks/sst2', { 'if-none-match': tags }),
        target.get('/tasks/sst2/file', { 'if-none-match': tags }),
        target.request('DELETE', '/tasks/none', { headers: { 'if-match': tags } }),
      )
    },
  },
  {
    name: 'own-limits',
    sends: 'requests for the usage of the tenant',
    by: 'tenant',
    connections: 64,
    allowed: anyResponse,
    prepare: (target) => send(target.get('/tenants/tenant')),
  },
  {
    name: 'metrics',
    sends: 'requests for the metrics',
    by: 'scraper',
    connections: 32,
    allowed: anyResponse,
    prepare: (target) => send(target.get('/metrics')),
  },
  {
    name: 'metrics-unread',
    sends: 'requests for the metrics, 20 at once on a connection, without reading the responses',
    by: 'scraper',
    connections: 2_000,
    allowed: anyResponse,
    prepare: (target) => unread(target.get('/metrics'), 20),
  },
  {
    name: 'docs-unread',
    sends: 'requests for the OpenAPI description, 20 at once on a connection, without reading the responses',
    by: 'anonymous',
    connections: 2_000,
    allowed: anyResponse,
    prepare: (target) => unread(target.get('/docs/json'), 20),
  },
  {
    name: 'health-unread',
    sends: 'requests to /health/live, 5,000 at once on a connection, without reading the responses',
    by: 'anonymous',
    connections: 64,
    allowed: anyResponse,
    prepare: (target) => unread(target.get('/health/live'), 5_000),
  },
]
