// `npm run bench -- attacks`: runs each attack against a new server with limited memory, while one well-behaved client of
// another tenant is measured.

import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { type Benchmark, type Figure, median, once, quantile } from '../support/figures.js'
import { ForkedScript } from '../support/forked-script.js'
import { withTemporaryDirectory } from '../support/material.js'
import { limitMemory, type MemoryLimit } from '../support/memory-limit.js'
import { type ServerProcess, startServerProcess } from '../support/process.js'
import { type Attack, isAllowed } from './attack.js'
import type { AttackerMessage, AttackerReport } from './attacker.js'
import { type Observations, ServerMonitor } from './monitor.js'
import { allAttacks, attacksByName } from './table.js'
import type { Keys } from './target.js'
import type { WellBehavedRequest, WellBehavedResult } from './well-behaved-client.js'

export interface AttacksOptions {
  /** Names of attacks; all attacks unless given. */
  readonly only?: readonly string[]
  /** Duration of each attack. */
  readonly seconds: number
}

export const attackNames: readonly string[] = [...attacksByName.keys()]

const memoryBytes = 1024 ** 3
const warmUpSeconds = 1
/**
 * The client is measured alone for this share of an attack's duration, before the attack and again after it, and for the
 * same time next to a process that only computes.
 */
const aloneShare = 0.5
const preparationMs = 120_000

interface Outcome {
  readonly attack: Attack
  readonly observed: Observations
  readonly report: AttackerReport
  /** The well-behaved client before and after the attack. */
  readonly alone: WellBehavedResult
  /** The well-behaved client during the attack. */
  readonly during: WellBehavedResult
  /** The well-behaved client while another process uses as much processor time as the attacker, and sends nothing. */
  readonly busy: WellBehavedResult
  /** Peak memory that the kernel charged to the server's control group. */
  readonly chargedBytes: number | undefined
}

export const attacks =
  ({ only, seconds }: AttacksOptions): Benchmark =>
  async (log) => {
    const chosen = allAttacks.filter(({ name }) => only === undefined || only.includes(name))
    const outcomes: Outcome[] = []
    for (const attack of chosen) {
      const limit = limitMemory(memoryBytes)
      if (outcomes.length === 0) log(`attacks: the server has ${memoryBytes / 2 ** 20} MiB (${limit.mechanism})`)
      const outcome = await withTemporaryDirectory((directory) => run(attack, directory, limit, seconds))
      await limit.remove()
      outcomes.push(outcome)
      log(`attacks: ${outcomes.length} of ${chosen.length}: ${attack.name}: ${lineOf(outcome)}`)
    }
    return [...totals(outcomes), ...outcomes.map(figureOf)]
  }

async function run(attack: Attack, directory: string, limit: MemoryLimit, seconds: number): Promise<Outcome> {
  const operatorKey = randomBytes(24).toString('hex')
  const server = await startServerProcess(
    directory,
    [],
    { PROPETL_OPERATOR_KEY: operatorKey },
    { command: limit.command, quiet: true },
  )
  const { url } = server
  const { wellBehaved: clientKey, ...keys } = await createKeys(url, operatorKey)
  const monitor = new ServerMonitor(server)
  const client = new ForkedScript<WellBehavedRequest, WellBehavedResult>(
    new URL('./well-behaved-client.js', import.meta.url),
  )
  const attacker = new ForkedScript<AttackerMessage, AttackerReport>(new URL('./attacker.js', import.meta.url))
  /** @returns undefined if the server exits first */
  const whileAlive = async <T>(work: Promise<T>): Promise<T | undefined> => {
    const result = await Promise.race([work, monitor.ended])
    return result === 'ended' ? undefined : (result as T)
  }
  const measure = async (duration: number) =>
    (await whileAlive(client.run({ url, key: clientKey, seconds: duration }))) ?? noResult
  try {
    await measure(warmUpSeconds)
    const prepared = await whileAlive(
      Promise.race([
        attacker.run({ do: 'prepare', attack: attack.name, url, keys }),
        pause(preparationMs, undefined, { ref: false }).then(() => {
          throw new Error(`the attack ${attack.name} could not be prepared within ${preparationMs / 1000} s`)
        }),
      ]),
    )
    const before = await measure(aloneShare * seconds)
    if (!monitor.isEnded) attacker.start({ do: 'attack' })
    const during = await measure(seconds)
    const report = (prepared && (await attacker.run({ do: 'stop' }))) ?? noReport
    await monitor.recovered()
    const after = await measure(aloneShare * seconds)
    const observed = monitor.stop()
    if (!monitor.isEnded) attacker.start({ do: 'compute', share: report.cpuShare })
    const busy = await measure(aloneShare * seconds)
    return { attack, observed, report, alone: merged(before, after), during, busy, chargedBytes: limit.peakBytes() }
  } finally {
    client.stop()
    attacker.stop()
    await kill(server, monitor)
  }
}

const noResult: WellBehavedResult = { latenciesMs: [], failures: {} }
const noReport: AttackerReport = { uploads: {}, responses: {}, cpuShare: 0 }

const merged = (a: WellBehavedResult, b: WellBehavedResult): WellBehavedResult => ({
  latenciesMs: [...a.latenciesMs, ...b.latenciesMs],
  failures: Object.fromEntries(
    Object.keys({ ...a.failures, ...b.failures }).map((outcome) => [
      outcome,
      (a.failures[outcome] ?? 0) + (b.failures[outcome] ?? 0),
    ]),
  ),
})

async function kill(server: ServerProcess, monitor: ServerMonitor): Promise<void> {
  if (monitor.isEnded) return
  server.process.kill('SIGKILL')
  await monitor.ended
}

/** Creates the tenants, and a key of each. */
async function createKeys(url: string, operatorKey: string): Promise<Keys & { readonly wellBehaved: string }> {
  const request = async (method: string, path: string, body: object) => {
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${operatorKey}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (!response.ok) throw new Error(`${method} ${path} returned ${response.status}: ${await response.text()}`)
    return (await response.json()) as { readonly key: string }
  }
  const keyOf = async (owner: string) => (await request('POST', `/tenants/${owner}/keys`, {})).key
  const tenant = async (id: string, limits: object) => {
    await request('PUT', `/tenants/${id}`, { limits })
    return keyOf(id)
  }
  return {
    wellBehaved: await tenant('well-behaved', {}),
    tenant: await tenant('tenant', {}),
    limited: await tenant('limited', {
      tasks: 10,
      bytes: 1_000_000,
      requests_per_second: 5,
      tokens_per_second: 500,
    }),
    scraper: await keyOf('metrics'),
  }
}

const MB = 1e6
const p99 = (latencies: readonly number[]) => (latencies.length === 0 ? Number.NaN : quantile(latencies, 0.99))
const p50 = (latencies: readonly number[]) => (latencies.length === 0 ? Number.NaN : median(latencies))
const sum = (counts: Readonly<Record<string, number>>) =>
  Object.values(counts).reduce((total, count) => total + count, 0)
const listOf = (counts: Readonly<Record<string, number>>) =>
  Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([outcome, count]) => `${outcome} (${count})`)
    .join(', ') || 'none'

const slowdownOf = ({ alone, during }: Outcome) => p99(during.latenciesMs) / p99(alone.latenciesMs)
const forbiddenOf = ({ attack: { allowed }, report: { responses } }: Outcome) =>
  Object.fromEntries(Object.entries(responses).filter(([outcome]) => !isAllowed(allowed, outcome)))

/** Failed requests of the well-behaved client while the server was alive. */
const failuresOf = ({ alone, during }: Outcome) => sum(alone.failures) + sum(during.failures)

interface Criterion {
  readonly name: string
  readonly unit: string
  readonly atMost: number
  readonly value: (outcome: Outcome) => number
}

const criteria: readonly Criterion[] = [
  {
    name: 'exits of the server process',
    unit: '',
    atMost: 0,
    value: ({ observed }) => (observed.end === undefined ? 0 : 1),
  },
  {
    name: 'peak resident memory without the task database',
    unit: 'MB',
    atMost: 900,
    value: ({ observed }) => observed.peakBytes / MB,
  },
  {
    name: 'longest time without a response of /health/live',
    unit: 'ms',
    atMost: 250,
    value: ({ observed }) => observed.unresponsiveMs,
  },
  { name: 'failed requests of a well-behaved client of another tenant', unit: '', atMost: 0, value: failuresOf },
  {
    name: 'responses that the attack must not get',
    unit: '',
    atMost: 0,
    value: (outcome) => sum(forbiddenOf(outcome)),
  },
]

/** The largest value of each criterion, and the attacks that miss its target. */
const totals = (outcomes: readonly Outcome[]): Figure[] =>
  criteria.map(({ name, unit, atMost, value }) => {
    const values = outcomes.map(value)
    const missed = outcomes.filter((outcome) => value(outcome) > atMost)
    return {
      name: `Any attack: ${name}`,
      unit,
      value: Math.max(...values),
      spread: [Math.min(...values), Math.max(...values)] as const,
      repeats: values.length,
      target: { atMost },
      ...(missed.length > 0 && {
        notes: { missed: missed.map((outcome) => `${outcome.attack.name} ${value(outcome).toFixed(0)}`).join(', ') },
      }),
    }
  })

const figureOf = (outcome: Outcome): Figure => {
  const { attack, observed, report, alone, during, busy, chargedBytes } = outcome
  const forbidden = listOf(forbiddenOf(outcome))
  return {
    name: `Attack ${attack.name}: p99 latency of a well-behaved client, against alone`,
    unit: '×',
    ...once(slowdownOf(outcome)),
    target: { atMost: 2.5 },
    notes: {
      sends: `${attack.sends}; ${attack.connections} connections`,
      'p99 during the attack, ms': p99(during.latenciesMs),
      'p99 alone, ms': p99(alone.latenciesMs),
      "p99 next to a process that only uses the attacker's processor time, ms": p99(busy.latenciesMs),
      'p50 during the attack, ms': p50(during.latenciesMs),
      'p50 alone, ms': p50(alone.latenciesMs),
      ...(failuresOf(outcome) > 0 && {
        'failed during the attack': listOf(during.failures),
        'failed alone': listOf(alone.failures),
      }),
      ...(observed.end !== undefined && { 'the server exited': observed.end }),
      'peak MB': observed.peakBytes / MB,
      'peak with the task database, MB': observed.peakOfAllBytes / MB,
      ...(chargedBytes !== undefined && { 'peak charged to the control group, MB': chargedBytes / MB }),
      'longest time without a response of /health/live, ms': observed.unresponsiveMs,
      ...(observed.unresponsive && {
        "in that time the server's main thread ran for, ms": observed.unresponsive.runningMs,
        'and waited for a core for, ms': observed.unresponsive.waitingMs,
      }),
      responses: listOf(report.responses),
      ...(forbidden !== 'none' && { 'responses that the attack must not get': forbidden }),
      ...(sum(report.uploads) > 0 && { 'uploads before the attack': listOf(report.uploads) }),
      'cores used by the attacker': report.cpuShare,
    },
  }
}

function lineOf(outcome: Outcome): string {
  const { observed, report, alone, during, busy } = outcome
  const { runningMs, waitingMs } = observed.unresponsive ?? { runningMs: Number.NaN, waitingMs: Number.NaN }
  return [
    observed.end === undefined ? 'the server survives' : `THE SERVER EXITED (${observed.end})`,
    `${(observed.peakBytes / MB).toFixed(0)} MB (${(observed.peakOfAllBytes / MB).toFixed(0)} MB with the task database)`,
    `/health/live unresponsive for ${observed.unresponsiveMs.toFixed(0)} ms (main thread: ran ${runningMs.toFixed(0)} ms, waited for a core ${waitingMs.toFixed(0)} ms)`,
    `p99 ${p99(during.latenciesMs).toFixed(0)} ms, alone ${p99(alone.latenciesMs).toFixed(0)} ms: ${slowdownOf(outcome).toFixed(2)} ×; next to an equally busy process ${p99(busy.latenciesMs).toFixed(0)} ms`,
    `failed requests of the client: ${listOf(during.failures)}`,
    `responses: ${listOf(report.responses)}`,
    `the attacker used ${report.cpuShare.toFixed(2)} cores`,
  ].join('; ')
}
