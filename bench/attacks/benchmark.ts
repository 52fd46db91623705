// `npm run bench -- attacks`: every attack of the table, each against a fresh server of limited memory, beside one
// well-behaved client of another tenant.

import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { type Benchmark, type Figure, median, quantile } from '../support/figures.js'
import { withDirectory } from '../support/material.js'
import { limitMemory, type MemoryLimit } from '../support/memory-limit.js'
import { AttackerProcess, type ServerProcess, SteadyProcess, startServerProcess } from '../support/process.js'
import { type Attack, isAllowed } from './attack.js'
import type { AttackerReport } from './attacker.js'
import type { Keys } from './stage.js'
import type { SteadyResult } from './steady-client.js'
import { allAttacks, attacksByName } from './table.js'
import { type Seen, Watch } from './watch.js'

export interface AttacksOptions {
  /** Names of attacks; all of them unless given. */
  readonly only?: readonly string[]
  /** How long each lasts. */
  readonly seconds: number
}

export const attackNames: readonly string[] = [...attacksByName.keys()]

const replicaBytes = 1024 ** 3
const warmUpSeconds = 1
/** The client alone is measured for this share of the time, before the attack and once more behind it. */
const aloneShare = 0.5
const preparationMs = 120_000

interface Outcome {
  readonly attack: Attack
  readonly seen: Seen
  readonly report: AttackerReport
  readonly alone: SteadyResult
  readonly beside: SteadyResult
  /** Most memory that was charged to the group. */
  readonly chargedBytes: number | undefined
}

export const attacks =
  ({ only, seconds }: AttacksOptions): Benchmark =>
  async (say) => {
    const chosen = allAttacks.filter(({ name }) => only === undefined || only.includes(name))
    const outcomes: Outcome[] = []
    for (const attack of chosen) {
      const limit = limitMemory(replicaBytes)
      if (outcomes.length === 0) say(`attacks: a server of ${replicaBytes / 2 ** 20} MiB, by a ${limit.how}`)
      const outcome = await withDirectory((directory) => run(attack, directory, limit, seconds))
      await limit.remove()
      outcomes.push(outcome)
      say(`attacks: ${outcomes.length} of ${chosen.length}: ${attack.name}: ${lineOf(outcome)}`)
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
  const { steady: steadyKey, ...keys } = await makeKeys(url, operatorKey)
  const watch = new Watch(server)
  const steady = new SteadyProcess()
  const attacker = new AttackerProcess()
  /** Undefined if the server ends before. */
  const whileAlive = async <T>(work: Promise<T>): Promise<T | undefined> => {
    const done = await Promise.race([work, watch.ended])
    return done === 'ended' ? undefined : (done as T)
  }
  const measure = async (forSeconds: number) =>
    (await whileAlive(steady.run({ url, key: steadyKey, seconds: forSeconds }))) ?? noResult
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
    if (!watch.isEnded) attacker.start({ do: 'attack' })
    const beside = await measure(seconds)
    const report = (prepared && (await attacker.run({ do: 'stop' }))) ?? noReport
    await watch.recovered()
    const after = await measure(aloneShare * seconds)
    const seen = watch.stop()
    return { attack, seen, report, alone: both(before, after), beside, chargedBytes: limit.peakBytes() }
  } finally {
    steady.stop()
    attacker.stop()
    await end(server, watch)
  }
}

const noResult: SteadyResult = { latenciesMs: [], failures: {} }
const noReport: AttackerReport = { uploads: {}, answers: {}, cpuShare: 0 }

const both = (a: SteadyResult, b: SteadyResult): SteadyResult => ({
  latenciesMs: [...a.latenciesMs, ...b.latenciesMs],
  failures: Object.fromEntries(
    Object.keys({ ...a.failures, ...b.failures }).map((outcome) => [
      outcome,
      (a.failures[outcome] ?? 0) + (b.failures[outcome] ?? 0),
    ]),
  ),
})

/** The next attack needs no clean end of this server. */
async function end(server: ServerProcess, watch: Watch): Promise<void> {
  if (watch.isEnded) return
  server.process.kill('SIGKILL')
  await watch.ended
}

/** Tenants of these names, and a key of each. */
async function makeKeys(url: string, operatorKey: string): Promise<Keys & { readonly steady: string }> {
  const ask = async (method: string, path: string, body: object) => {
    const answer = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${operatorKey}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
    return (await answer.json()) as { readonly key: string }
  }
  const keyOf = async (owner: string) => (await ask('POST', `/tenants/${owner}/keys`, {})).key
  const tenant = async (id: string, limits: object) => {
    await ask('PUT', `/tenants/${id}`, { limits })
    return keyOf(id)
  }
  return {
    steady: await tenant('steady', {}),
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
const listed = (counts: Readonly<Record<string, number>>) =>
  Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([what, count]) => `${what} (${count})`)
    .join(', ') || 'none'

const slowdownOf = ({ alone, beside }: Outcome) => p99(beside.latenciesMs) / p99(alone.latenciesMs)
const forbiddenOf = ({ attack: { allowed }, report: { answers } }: Outcome) =>
  Object.fromEntries(Object.entries(answers).filter(([outcome]) => !isAllowed(allowed, outcome)))

/** How many of the well-behaved client's requests failed while the server lived. */
const failuresOf = ({ alone, beside }: Outcome) => sum(alone.failures) + sum(beside.failures)

interface Criterion {
  readonly what: string
  readonly unit: string
  readonly atMost: number
  readonly value: (outcome: Outcome) => number
}

const criteria: readonly Criterion[] = [
  { what: 'the process ended', unit: 'times', atMost: 0, value: ({ seen }) => (seen.end === undefined ? 0 : 1) },
  {
    what: 'peak of resident memory without the task database',
    unit: 'MB',
    atMost: 900,
    value: ({ seen }) => seen.peakBytes / MB,
  },
  { what: 'longest silence of /health/live', unit: 'ms', atMost: 250, value: ({ seen }) => seen.silenceMs },
  {
    what: "requests of another tenant's well-behaved client that failed",
    unit: '',
    atMost: 0,
    value: failuresOf,
  },
  {
    what: 'answers that the attack may not get',
    unit: '',
    atMost: 0,
    value: (outcome) => sum(forbiddenOf(outcome)),
  },
]

/** The worst attack of each criterion, and those that miss it. */
const totals = (outcomes: readonly Outcome[]): Figure[] =>
  criteria.map(({ what, unit, atMost, value }) => {
    const values = outcomes.map(value)
    const missed = outcomes.filter((outcome) => value(outcome) > atMost)
    return {
      what: `any attack: ${what}, at most`,
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
  const { attack, seen, report, alone, beside, chargedBytes } = outcome
  const slowdown = slowdownOf(outcome)
  return {
    what: `attack ${attack.name} (${attack.sends}; ${attack.connections} connections): well-behaved client's p99 against alone`,
    unit: '×',
    value: slowdown,
    spread: [slowdown, slowdown],
    repeats: 1,
    target: { atMost: 2.5 },
    notes: {
      'p99 ms beside': p99(beside.latenciesMs),
      'p99 ms alone': p99(alone.latenciesMs),
      'p50 ms beside': p50(beside.latenciesMs),
      'p50 ms alone': p50(alone.latenciesMs),
      'requests beside': beside.latenciesMs.length,
      'failed beside': listed(beside.failures),
      'failed alone': listed(alone.failures),
      process: seen.end ?? 'lives',
      'peak MB': seen.peakBytes / MB,
      'peak MB of all pages': seen.peakOfAllBytes / MB,
      ...(chargedBytes !== undefined && { 'peak MB charged to the group': chargedBytes / MB }),
      'silence ms': seen.silenceMs,
      answers: listed(report.answers),
      'answers it may not get': listed(forbiddenOf(outcome)),
      'uploads before': listed(report.uploads),
      "attacker's cores": report.cpuShare,
    },
  }
}

function lineOf(outcome: Outcome): string {
  const { seen, report, alone, beside } = outcome
  return [
    seen.end === undefined ? 'lives' : `ENDED (${seen.end})`,
    `${(seen.peakBytes / MB).toFixed(0)} MB (${(seen.peakOfAllBytes / MB).toFixed(0)} of all pages)`,
    `silent for ${seen.silenceMs.toFixed(0)} ms`,
    `p99 ${p99(beside.latenciesMs).toFixed(0)} against ${p99(alone.latenciesMs).toFixed(0)} ms: ${slowdownOf(outcome).toFixed(2)} ×`,
    `client's failures: ${listed(beside.failures)}`,
    `answers: ${listed(report.answers)}`,
    `attacker: ${report.cpuShare.toFixed(2)} cores`,
  ].join('; ')
}
