// A long mixed load with uploads and removals on a server of its own: whether memory grows, and whether descriptors,
// threads, slots of the bank or waiting rows are left behind.

import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Numerics } from '../../src/runtime/execution-providers.js'
import { type Benchmark, type Figure, lowerEnvelope, median, type Sample, slopeOf } from '../support/figures.js'
import { mixedTexts, withDirectory } from '../support/material.js'
import {
  descriptors,
  metricsOf,
  residentBytes,
  type ServerProcess,
  SoakLoadProcess,
  startServerProcess,
} from '../support/process.js'
import { inputOf } from '../support/requests.js'
import { anyInput, Counts, checkUpload, newUpload, SoakClient, type Tally } from './soak-client.js'

export interface SoakOptions {
  readonly minutes: number
  readonly numerics: Numerics
  /** As many as the server takes by itself, unless given. */
  readonly engines?: number
  /** Tenants' keys are asked for, and tenants come and go. */
  readonly keys: boolean
}

const clients = 16
/** Several times as many tasks as have a slot are in use: slots are given away all the time. */
const slots = 64
const uploadsPerClient = 12
/** The caches are full, and the process has its size, after this share of the time. */
const warmUpShare = 0.2
const sampleMs = 2_000
/** Long enough for collections of garbage to come by: what is lowest in it is what is really held. */
const windowMs = 30_000
/** A slope is one of at least two windows behind the warm-up. */
const shortestMinutes = Math.ceil((3 * windowMs) / (1 - warmUpShare) / 60_000)
const settleMs = 10_000
const warmUpTexts = 768
const textsAtOnce = 64
/** In which as many tasks as there are slots come to lie in all banks. */
const rounds = 50
/**
 * By how much logits of one text differ from batch to batch: kernels of other shapes add up in another order, which float16
 * shows; eight-bit sums are scaled by the batch's largest value.
 */
const tolerances: Readonly<Record<Numerics, number>> = { float32: 1e-3, float16: 0.3, int8: 2 }

type Watched = 'resident' | 'anonymous' | 'file' | 'heap' | 'external' | 'descriptors' | 'threads' | 'rows' | 'oldest'

export const soak =
  ({ minutes, numerics, engines, keys }: SoakOptions): Benchmark =>
  (say) =>
    withDirectory(async (directory) => {
      if (minutes < shortestMinutes)
        throw new Error(`a soak of ${minutes} minutes shows no slope; it takes at least ${shortestMinutes}`)
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
      // What first requests open, and large ones take, is there before anything is counted.
      await warmUp(client)
      await loadsOnceFull(server, client, tolerance)
      const before = await held(server, operatorKey)

      const load = new SoakLoadProcess()
      load.start({
        url: server.url,
        clients,
        uploads: uploadsPerClient,
        tolerance,
        ...(operatorKey !== undefined && { operatorKey }),
      })
      const watched = await Promise.race([watch(server, minutes * 60_000, operatorKey, say), load.lost])
      const tally = await load.run({ stop: true })
      load.stop()
      await pause(settleMs)
      const after = await held(server, operatorKey)
      const unheld = await loadsOnceFull(server, client, tolerance)
      await server.stop()
      return figuresOf({ minutes, watched, before, after, unheld, tallies: [tally, counts] }, say)
    })

const authorization = (key: string | undefined) => (key === undefined ? {} : { authorization: `Bearer ${key}` })

/** What the server holds now. */
async function held({ url, process }: ServerProcess, key: string | undefined) {
  const metric = await metricsOf(url, authorization(key))
  return {
    ...residentBytes(process.pid),
    kinds: descriptors(process.pid),
    heap: metric('nodejs_heap_size_used_bytes'),
    external: metric('nodejs_external_memory_bytes'),
    rows: metric('propetl_queue_rows'),
    oldest: metric('propetl_queue_oldest_seconds'),
    tasks: metric('propetl_registered_tasks'),
    inBank: metric('propetl_bank_loads_total') - metric('propetl_bank_evictions_total'),
  }
}

type Held = Awaited<ReturnType<typeof held>>

async function watch(
  server: ServerProcess,
  ms: number,
  key: string | undefined,
  say: (progress: string) => void,
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
  let said = start
  for (let at = 0; at < ms; at = performance.now() - start) {
    const { all, anonymous, file, heap, external, kinds, threads, rows, oldest } = await held(server, key)
    const values = { resident: all, anonymous, file, heap, external, descriptors: sumOf(kinds), threads, rows, oldest }
    for (const name of Object.keys(values) as Watched[]) watched[name].push({ at, value: values[name] })
    if (performance.now() - said > windowMs) {
      said = performance.now()
      const mb = (bytes: number) => (bytes / 1e6).toFixed(1)
      say(
        `soak: ${(at / 60_000).toFixed(1)} min: ${mb(all)} MB, ${mb(anonymous)} anonymous, ${mb(file)} of files, ` +
          `${mb(heap)} heap, ${mb(external)} external; ${values.descriptors} descriptors, ${threads} threads, ${rows} rows, the oldest for ${oldest.toFixed(1)} s`,
      )
    }
    await pause(sampleMs)
  }
  return watched
}

/** Texts of the bundled tasks, many at once, and texts as long as the model takes: engines get the memory that their largest batches need. */
async function warmUp(client: SoakClient): Promise<void> {
  const all = mixedTexts().map((text) => ({ task: text.task, ...inputOf(text) }))
  const long = all.slice(0, 16).map(({ task, text }) => ({ task, text: `${text} `.repeat(200) }))
  for (let first = 0; first < warmUpTexts; first += textsAtOnce)
    for (const inputs of [all.slice(first, first + textsAtOnce), long])
      await client.ask('predict, to warm up', ['200'], { path: '/predict', body: { inputs } })
}

const sumOf = (kinds: Held['kinds']) => [...kinds.values()].reduce((sum, count) => sum + count, 0)

/**
 * New tasks, as many as the bank has slots, are asked over and over until none of them has to be loaded again. Were a slot
 * lost, each round would load those that the others had driven out. Two engines share a request as it comes, so it takes
 * some rounds until both have all tasks. Then each task must answer by its own mask; and they are removed again.
 * @returns the loads of the last round
 */
async function loadsOnceFull({ url }: ServerProcess, client: SoakClient, tolerance: number): Promise<number> {
  const uploads = Array.from({ length: slots }, (_, index) => newUpload(`slot-${index}`, index + 1_000_000))
  for (const { id, file } of uploads)
    await client.ask('upload', ['201'], { method: 'PUT', path: `/tasks/${id}`, body: file })
  const inputs = uploads.map(({ id, bundled }) => ({ task: id, ...anyInput(bundled) }))
  const loads = async () => (await metricsOf(url, authorization(client.key)))('propetl_bank_loads_total')
  let last = Number.NaN
  for (let round = 0; round < rounds && last !== 0; round++) {
    const before = await loads()
    await client.ask('predict, a full bank', ['200'], { path: '/predict', body: { inputs } })
    last = (await loads()) - before
  }
  await checkUpload(client, 'predict, of a full bank', uploads, tolerance)
  for (const { id } of uploads) await client.ask('remove', ['204'], { method: 'DELETE', path: `/tasks/${id}` })
  return last
}

interface Found {
  readonly minutes: number
  readonly watched: Readonly<Record<Watched, readonly Sample[]>>
  readonly before: Held
  readonly after: Held
  /** Masks that a full bank had to load again. */
  readonly unheld: number
  readonly tallies: readonly Tally[]
}

function figuresOf({ minutes, watched, before, after, unheld, tallies }: Found, say: (line: string) => void): Figure[] {
  const measured = (name: Watched) => watched[name].filter(({ at }) => at >= warmUpShare * minutes * 60_000)
  const resident = median(measured('resident').map(({ value }) => value))
  const seconds = (1 - warmUpShare) * minutes * 60
  /** Over all the time that is measured, in % of resident memory. */
  const grown = (samples: readonly Sample[]) => {
    const { slope, interval } = slopeOf(samples)
    const percent = (perMs: number) => (100 * perMs * seconds * 1000) / resident
    return { value: percent(slope), spread: [percent(interval[0]), percent(interval[1])] as const }
  }
  const lowest = lowerEnvelope(measured('anonymous'), windowMs)
  const values = (name: Watched) => measured(name).map(({ value }) => value)
  const outcomes = tallies.flatMap(({ outcomes }) =>
    Object.entries(outcomes).flatMap(([what, of]) =>
      Object.entries(of).map(([outcome, count]) => ({ what, outcome, count })),
    ),
  )
  for (const { what, outcome, count } of outcomes) say(`soak: ${what}: ${outcome}, ${count} times`)
  for (const example of tallies.flatMap(({ examples }) => examples)) say(`soak: ${example}`)
  const answers = outcomes.reduce((sum, { count }) => sum + count, 0)
  const total = (kind: 'unexpected' | 'wrong') => tallies.reduce((sum, tally) => sum + tally[kind], 0)
  const once = (value: number) => ({ value, spread: [value, value] as const, repeats: 1 })
  const over = `${minutes} min of mixed load with uploads and removals from ${clients} clients`
  return [
    {
      what: `${over}: slope of memory that no file backs (lowest of each ${windowMs / 1000} s) over the last ${1 - warmUpShare} of it, of resident memory`,
      unit: '%',
      ...grown(lowest),
      repeats: lowest.length,
      target: { atMost: 1 },
      notes: {
        'MB resident': resident / 1e6,
        'MB without file': median(values('anonymous')) / 1e6,
        '% by all samples': grown(measured('anonymous')).value,
        '% of pages of files': grown(measured('file')).value,
        '% of heap': grown(measured('heap')).value,
        '% of external memory': grown(measured('external')).value,
      },
    },
    {
      what: 'descriptors open after the load, above those before',
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
      what: 'threads after the load, above those before',
      unit: '',
      ...once(after.threads - before.threads),
      target: { atMost: 0 },
      notes: { before: before.threads, 'most under load': Math.max(...values('threads')) },
    },
    {
      what: 'rows that wait after the load',
      unit: '',
      ...once(after.rows),
      target: { atMost: 0 },
      notes: {
        'most under load': Math.max(...values('rows')),
        'longest wait under load, s': Math.max(...values('oldest')),
      },
    },
    {
      what: `masks of ${slots} tasks that ${slots} slots did not hold after the load`,
      unit: '',
      ...once(unheld),
      target: { atMost: 0 },
      notes: { 'masks in banks': after.inBank },
    },
    {
      what: 'answers that were not among those expected',
      unit: '',
      ...once(total('unexpected')),
      target: { atMost: 0 },
      notes: {
        answers,
        'among them 404 while the task was being removed': outcomes.reduce(
          (sum, { what, outcome, count }) =>
            outcome === '404 unknown_task' && what.includes('being removed') ? sum + count : sum,
          0,
        ),
        ...statusesOf(outcomes),
      },
    },
    { what: 'answers by a wrong version or mask', unit: '', ...once(total('wrong')), target: { atMost: 0 } },
  ]
}

/** Kinds of descriptors of which there are other numbers than before. */
const changesOf = (before: Held['kinds'], after: Held['kinds']): Record<string, number> =>
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
