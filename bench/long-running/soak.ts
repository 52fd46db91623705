// A long mixed load with uploads and removals. Measures the growth of memory, and whether descriptors, threads, slots of
// the bank or waiting rows leak.

import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Numerics } from '../../src/runtime/numerics.js'
import {
  type Benchmark,
  type Figure,
  type Log,
  lowerEnvelope,
  median,
  once,
  type Sample,
  slopeOf,
} from '../support/figures.js'
import { ForkedScript } from '../support/forked-script.js'
import { mixedTexts, withTemporaryDirectory } from '../support/material.js'
import {
  metricsOf,
  openDescriptors,
  processMemory,
  type ServerProcess,
  startServerProcess,
} from '../support/process.js'
import { inputOf } from '../support/requests.js'
import { anyInput, Counts, checkUpload, newUpload, SoakClient, type Tally } from './soak-client.js'
import type { SoakLoad } from './soak-load.js'

export interface SoakOptions {
  readonly minutes: number
  readonly numerics: Numerics
  /** Number of engines; the server's default unless given. */
  readonly engines?: number
  /** The server requires API keys, and tenants are created and removed. */
  readonly keys: boolean
}

const clients = 16
/** The load uses several times as many tasks as there are slots, so that slots are evicted all the time. */
const slots = 64
const uploadsPerClient = 12
/** After this share of the time the caches are full and the process has its final size. */
const warmUpShare = 0.2
const sampleMs = 2_000
/** Long enough for several garbage collections: the lowest sample of a window is the memory that is really in use. */
const windowMs = 30_000
/** A slope needs at least two windows after the warm-up. */
const shortestMinutes = Math.ceil((3 * windowMs) / (1 - warmUpShare) / 60_000)
const settleMs = 10_000
const warmUpTexts = 768
const textsAtOnce = 64
/** Most rounds to wait until the banks of all engines hold all tasks. */
const bankRounds = 50
/**
 * Largest difference of the logits of one text between batches. Kernels of other shapes sum in another order, which shows
 * in float16. int8 sums are scaled by the largest value of the batch.
 */
const tolerances: Readonly<Record<Numerics, number>> = { float32: 1e-3, float16: 0.3, int8: 2 }

type Watched = 'resident' | 'anonymous' | 'file' | 'heap' | 'external' | 'descriptors' | 'threads' | 'rows' | 'oldest'

export const soak =
  ({ minutes, numerics, engines, keys }: SoakOptions): Benchmark =>
  (log) =>
    withTemporaryDirectory(async (directory) => {
      if (minutes < shortestMinutes)
        throw new Error(`--minutes is ${minutes}; the soak benchmark needs at least ${shortestMinutes} for a slope`)
      const operatorKey = keys ? randomBytes(24).toString('hex') : undefined
      const flags = {
        numerics,
        ...(engines && { engines }),
        slots,
        'cache-bytes': 4 * 1024 * 1024,
        'metrics-tenants': 8,
      }
      const server = await startServerProcess(
        directory,
        Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]),
        operatorKey === undefined ? {} : { PROPETL_OPERATOR_KEY: operatorKey },
      )
      const counts = new Counts()
      const client = new SoakClient(server.url, counts, operatorKey)
      const tolerance = tolerances[numerics]
      // The first requests and the largest ones allocate what the server keeps.
      await warmUp(client)
      await loadsOfFullBank(server, client, tolerance)
      const before = await resourcesOf(server, operatorKey)

      const load = new ForkedScript<SoakLoad | { stop: true }, Tally>(new URL('./soak-load.js', import.meta.url))
      load.start({
        url: server.url,
        clients,
        uploads: uploadsPerClient,
        tolerance,
        ...(operatorKey !== undefined && { operatorKey }),
      })
      const watched = await Promise.race([watch(server, minutes * 60_000, operatorKey, log), load.failed])
      const tally = await load.run({ stop: true })
      load.stop()
      await pause(settleMs)
      const after = await resourcesOf(server, operatorKey)
      const unheld = await loadsOfFullBank(server, client, tolerance)
      await server.stop()
      return figuresOf({ minutes, numerics, watched, before, after, unheld, tallies: [tally, counts] }, log)
    })

const authorization = (key: string | undefined) => (key === undefined ? {} : { authorization: `Bearer ${key}` })

/** What the server uses now. */
async function resourcesOf({ url, process }: ServerProcess, key: string | undefined) {
  const metric = await metricsOf(url, authorization(key))
  return {
    ...processMemory(process.pid),
    kinds: openDescriptors(process.pid),
    heap: metric('nodejs_heap_size_used_bytes'),
    external: metric('nodejs_external_memory_bytes'),
    rows: metric('propetl_queue_rows'),
    oldest: metric('propetl_queue_oldest_seconds'),
    tasks: metric('propetl_registered_tasks'),
    inBank: metric('propetl_bank_loads_total') - metric('propetl_bank_evictions_total'),
  }
}

type Resources = Awaited<ReturnType<typeof resourcesOf>>

async function watch(
  server: ServerProcess,
  ms: number,
  key: string | undefined,
  log: Log,
): Promise<Record<Watched, Sample[]>> {
  const watched: Record<Watched, Sample[]> = {
    resident: [],
    anonymous: [],
    file: [],
    heap: [],
    external: [],
    descriptors: [],
    threads: [],
    rows: [],
    oldest: [],
  }
  const start = performance.now()
  let loggedAt = start
  for (let at = 0; at < ms; at = performance.now() - start) {
    const { all, anonymous, file, heap, external, kinds, threads, rows, oldest } = await resourcesOf(server, key)
    const values = { resident: all, anonymous, file, heap, external, descriptors: sumOf(kinds), threads, rows, oldest }
    for (const name of Object.keys(values) as Watched[]) watched[name].push({ at, value: values[name] })
    if (performance.now() - loggedAt > windowMs) {
      loggedAt = performance.now()
      const mb = (bytes: number) => (bytes / 1e6).toFixed(1)
      log(
        `soak: ${(at / 60_000).toFixed(1)} min: ${mb(all)} MB, ${mb(anonymous)} anonymous, ${mb(file)} file-backed, ` +
          `${mb(heap)} heap, ${mb(external)} external; ${values.descriptors} descriptors, ${threads} threads, ${rows} rows waiting, the oldest for ${oldest.toFixed(1)} s`,
      )
    }
    await pause(sampleMs)
  }
  return watched
}

/** Sends many texts at once and texts of the maximum length, so that engines allocate memory for their largest batches. */
async function warmUp(client: SoakClient): Promise<void> {
  const all = mixedTexts().map((text) => ({ task: text.task, ...inputOf(text) }))
  const long = all.slice(0, 16).map(({ task, text }) => ({ task, text: `${text} `.repeat(200) }))
  for (let first = 0; first < warmUpTexts; first += textsAtOnce)
    for (const inputs of [all.slice(first, first + textsAtOnce), long])
      await client.request('predict as warm-up', ['200'], { path: '/predict', body: { inputs } })
}

const sumOf = (kinds: Resources['kinds']) => [...kinds.values()].reduce((sum, count) => sum + count, 0)

/**
 * Uploads as many tasks as the bank has slots, and requests predictions of all until a round loads no mask. If a slot had
 * leaked, every round would load masks again. It takes several rounds until the banks of all engines hold all tasks. Then
 * checks the predictions of each task, and removes the tasks.
 * @returns the masks that the last round loaded
 */
async function loadsOfFullBank({ url }: ServerProcess, client: SoakClient, tolerance: number): Promise<number> {
  const uploads = Array.from({ length: slots }, (_, index) => newUpload(`slot-${index}`, index + 1_000_000))
  for (const { id, file } of uploads)
    await client.request('upload', ['201'], { method: 'PUT', path: `/tasks/${id}`, body: file })
  const inputs = uploads.map(({ id, bundled }) => ({ task: id, ...anyInput(bundled) }))
  const loads = async () => (await metricsOf(url, authorization(client.key)))('propetl_bank_loads_total')
  let last = Number.NaN
  for (let round = 0; round < bankRounds && last !== 0; round++) {
    const before = await loads()
    await client.request('predict with a full bank', ['200'], { path: '/predict', body: { inputs } })
    last = (await loads()) - before
  }
  await checkUpload(client, 'check predictions of a full bank', uploads, tolerance)
  for (const { id } of uploads) await client.request('remove', ['204'], { method: 'DELETE', path: `/tasks/${id}` })
  return last
}

/** Requests that may find their task removed by another request. */
const removalKinds = ['predict during removal', 'predict with a contended task', 'remove a contended task']

interface Measured {
  readonly numerics: Numerics
  readonly minutes: number
  readonly watched: Readonly<Record<Watched, readonly Sample[]>>
  readonly before: Resources
  readonly after: Resources
  /** Masks that a full bank loaded again. */
  readonly unheld: number
  readonly tallies: readonly Tally[]
}

function figuresOf({ minutes, numerics, watched, before, after, unheld, tallies }: Measured, log: Log): Figure[] {
  const samplesOf = (name: Watched) => watched[name].filter(({ at }) => at >= warmUpShare * minutes * 60_000)
  const resident = median(samplesOf('resident').map(({ value }) => value))
  const seconds = (1 - warmUpShare) * minutes * 60
  /** Growth over the measured time, in % of resident memory. */
  const growthOf = (samples: readonly Sample[]) => {
    const { slope, interval } = slopeOf(samples)
    const percent = (perMs: number) => (100 * perMs * seconds * 1000) / resident
    return { value: percent(slope), spread: [percent(interval[0]), percent(interval[1])] as const }
  }
  const lowest = lowerEnvelope(samplesOf('anonymous'), windowMs)
  const values = (name: Watched) => samplesOf(name).map(({ value }) => value)
  const outcomes = tallies.flatMap(({ outcomes }) =>
    Object.entries(outcomes).flatMap(([kind, counts]) =>
      Object.entries(counts).map(([outcome, count]) => ({ kind, outcome, count })),
    ),
  )
  for (const { kind, outcome, count } of outcomes) log(`soak: ${kind}: ${outcome}, ${count} times`)
  for (const example of tallies.flatMap(({ examples }) => examples)) log(`soak: ${example}`)
  const responses = outcomes.reduce((sum, { count }) => sum + count, 0)
  const total = (kind: 'unexpected' | 'wrong') => tallies.reduce((sum, tally) => sum + tally[kind], 0)
  const load = `Soak, ${minutes} min of mixed load from ${clients} clients${numerics === 'float32' ? '' : `, ${numerics}`}`
  return [
    {
      name: `${load}: growth of anonymous memory over the last ${100 * (1 - warmUpShare)} % of the time, against resident memory`,
      unit: '%',
      ...growthOf(lowest),
      repeats: lowest.length,
      target: { atMost: 1 },
      notes: {
        'resident MB': resident / 1e6,
        'anonymous MB': median(values('anonymous')) / 1e6,
        'growth by all samples, %': growthOf(samplesOf('anonymous')).value,
        'growth of file-backed pages, %': growthOf(samplesOf('file')).value,
        'growth of heap, %': growthOf(samplesOf('heap')).value,
        'growth of external memory, %': growthOf(samplesOf('external')).value,
      },
    },
    {
      name: `${load}: open descriptors after the load, more than before`,
      unit: '',
      ...once(sumOf(after.kinds) - sumOf(before.kinds)),
      target: { atMost: 0 },
      notes: {
        before: sumOf(before.kinds),
        'most under load': Math.max(...values('descriptors')),
        ...changesOf(before.kinds, after.kinds),
      },
    },
    {
      name: `${load}: threads after the load, more than before`,
      unit: '',
      ...once(after.threads - before.threads),
      target: { atMost: 0 },
      notes: { before: before.threads, 'most under load': Math.max(...values('threads')) },
    },
    {
      name: `${load}: rows waiting after the load`,
      unit: '',
      ...once(after.rows),
      target: { atMost: 0 },
      notes: {
        'most under load': Math.max(...values('rows')),
        'longest waiting time under load, s': Math.max(...values('oldest')),
      },
    },
    {
      name: `${load}: leaked slots (masks of ${slots} tasks that ${slots} slots cannot hold)`,
      unit: '',
      ...once(unheld),
      target: { atMost: 0 },
      notes: { 'masks in banks': after.inBank },
    },
    {
      name: `${load}: responses with an unexpected status or code`,
      unit: '',
      ...once(total('unexpected')),
      target: { atMost: 0 },
      notes: {
        responses,
        'expected 404 responses during removals': outcomes.reduce(
          (sum, { kind, outcome, count }) =>
            outcome === '404 unknown_task' && removalKinds.includes(kind) ? sum + count : sum,
          0,
        ),
        ...statusesOf(outcomes),
      },
    },
    {
      name: `${load}: predictions of a wrong version or mask`,
      unit: '',
      ...once(total('wrong')),
      target: { atMost: 0 },
    },
  ]
}

/** The change in number by kind of descriptor, where there is one. */
const changesOf = (before: Resources['kinds'], after: Resources['kinds']): Record<string, number> =>
  Object.fromEntries(
    [...new Set([...before.keys(), ...after.keys()])]
      .map((kind) => [kind, (after.get(kind) ?? 0) - (before.get(kind) ?? 0)] as const)
      .filter(([, change]) => change !== 0),
  )

function statusesOf(outcomes: readonly { outcome: string; count: number }[]): Record<string, string> {
  const counts = new Map<string, number>()
  for (const { outcome, count } of outcomes) counts.set(outcome, (counts.get(outcome) ?? 0) + count)
  return Object.fromEntries([...counts].sort().map(([outcome, count]) => [outcome, String(count)]))
}
