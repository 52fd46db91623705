// Attacks by reading: large answers to small requests, and answers that nobody takes.

import { type Attack, anyAnswer, ask, many, unread } from './attack.js'
import type { Stage } from './stage.js'
import { attackTask, labelCounts, wideHeads } from './task-files.js'

/** The request for the largest file that the server takes. */
async function largeDownload(stage: Stage): Promise<Buffer> {
  await stage.uploadLargest('large', wideHeads, (labels) => attackTask({ labels }))
  return stage.get('/tasks/large/file')
}

/** The request for the longest description. */
async function largeDescription(stage: Stage): Promise<Buffer> {
  await stage.uploadLargest('labels', labelCounts, (labels) => attackTask({ labels, dense: 1 }))
  return stage.get('/tasks/labels')
}

/** The request for the longest page of tasks. */
async function longPage(stage: Stage): Promise<Buffer> {
  for (let version = 0; version < 1_000; version++) await stage.upload(`page-${version}`, attackTask({ version }))
  return stage.get('/tasks?limit=1000')
}

export const readerAttacks: readonly Attack[] = [
  {
    name: 'downloads',
    sends: 'downloads of a file of 16 MB',
    by: 'tenant',
    connections: 8,
    allowed: anyAnswer,
    prepare: async (stage) => ask(await largeDownload(stage)),
  },
  {
    name: 'downloads-unread',
    sends: 'downloads of a file of 16 MB that nobody reads',
    by: 'tenant',
    connections: 300,
    allowed: anyAnswer,
    prepare: async (stage) => unread(await largeDownload(stage)),
  },
  {
    name: 'downloads-pipelined',
    sends: '100 downloads of 16 MB at once on a connection, which nobody reads',
    by: 'tenant',
    connections: 2,
    allowed: anyAnswer,
    prepare: async (stage) => unread(await largeDownload(stage), 100),
  },
  {
    name: 'descriptions',
    sends: 'descriptions of a task of 100,000 labels',
    by: 'tenant',
    connections: 8,
    allowed: anyAnswer,
    prepare: async (stage) => ask(await largeDescription(stage)),
  },
  {
    name: 'descriptions-unread',
    sends: 'the same, which nobody reads',
    by: 'tenant',
    connections: 500,
    allowed: anyAnswer,
    prepare: async (stage) => unread(await largeDescription(stage), 4),
  },
  {
    name: 'pages',
    sends: 'lists of 1,000 tasks',
    by: 'tenant',
    connections: 32,
    allowed: anyAnswer,
    prepare: async (stage) => ask(await longPage(stage)),
  },
  {
    name: 'pages-unread',
    sends: 'lists of 1,000 tasks that nobody reads, 10 at once on a connection',
    by: 'tenant',
    connections: 2_000,
    allowed: anyAnswer,
    prepare: async (stage) => unread(await longPage(stage), 10),
  },
  {
    name: 'etag-lists',
    sends: 'lists of versions of 15 KB in If-None-Match and If-Match',
    by: 'tenant',
    connections: 64,
    allowed: anyAnswer,
    prepare: (stage) => {
      const tags = many(4_900, () => '""').join(',')
      return ask(
        stage.get('/tasks/sst2', { 'if-none-match': tags }),
        stage.get('/tasks/sst2/file', { 'if-none-match': tags }),
        stage.request('DELETE', '/tasks/none', { headers: { 'if-match': tags } }),
      )
    },
  },
  {
    name: 'own-limits',
    sends: 'requests for what the tenant has used',
    by: 'tenant',
    connections: 64,
    allowed: anyAnswer,
    prepare: (stage) => ask(stage.get('/tenants/tenant')),
  },
  {
    name: 'metrics',
    sends: 'requests for the metrics',
    by: 'scraper',
    connections: 32,
    allowed: anyAnswer,
    prepare: (stage) => ask(stage.get('/metrics')),
  },
  {
    name: 'metrics-unread',
    sends: 'requests for the metrics that nobody reads, 20 at once on a connection',
    by: 'scraper',
    connections: 2_000,
    allowed: anyAnswer,
    prepare: (stage) => unread(stage.get('/metrics'), 20),
  },
  {
    name: 'docs-unread',
    sends: 'requests for the description of the API that nobody reads, 20 at once on a connection',
    by: 'stranger',
    connections: 2_000,
    allowed: anyAnswer,
    prepare: (stage) => unread(stage.get('/docs/json'), 20),
  },
  {
    name: 'health-unread',
    sends: 'requests for the liveness that nobody reads, 5,000 at once on a connection',
    by: 'stranger',
    connections: 64,
    allowed: anyAnswer,
    prepare: (stage) => unread(stage.get('/health/live'), 5_000),
  },
]
