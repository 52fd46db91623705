// Compares our server with a peer on the same requests, at increasing numbers of tasks: throughput, latency and memory.

import { setTimeout as pause } from 'node:timers/promises'
import type { Numerics } from '../../src/runtime/numerics.js'
import { alternate, type Benchmark, type Figure, median, quantile, summary } from '../support/figures.js'
import { withTemporaryDirectory } from '../support/material.js'
import { OurServer } from './our-server.js'
import type { Peer } from './peer.js'
import type { Growth, PeerProcess } from './peer-process.js'
import type { PeerText } from './protocol.js'
import { workload } from './workload.js'

export interface Comparison {
  readonly peer: Peer
  /** Numerics of our server. */
  readonly numerics: Numerics
  /** Numbers of tasks, ascending. */
  readonly sizes: readonly number[]
  /** Targets at a number of tasks, as ratios of ours to the peer's. */
  readonly targets: {
    readonly throughput?: { readonly tasks: number; readonly atLeast: number }
    readonly memory?: { readonly tasks: number; readonly atMost: number }
  }
}

const clients = 64
const textsPerRound = 4 * clients
const rounds = 5
const checkedTexts = 12
/** Threads of a side may spin for a while after their work. The other side waits until they sleep. */
const settleMs = 300

export const compare =
  (comparison: Comparison): Benchmark =>
  (log) =>
    withTemporaryDirectory(async (directory) => {
      const { peer, numerics, sizes } = comparison
      const process = await peer.start(directory)
      const figures: Figure[] = []
      try {
        let growth: Growth = { fits: true }
        const measured: Size[] = []
        for (const tasks of sizes) {
          const subject = `${tasks} ${tasks === 1 ? 'task' : 'tasks'}, ours in ${numerics} against ${peer.name}`
          log(`${subject} …`)
          if (growth.fits) growth = await process.grow(tasks)
          const texts = workload(tasks, textsPerRound)
          if (growth.fits) await check(peer, process, texts.slice(0, checkedTexts))
          const ours = await OurServer.start(directory, tasks, numerics)
          const found = growth.fits
            ? await sideBySide(ours, process, texts)
            : await alone(ours, texts, { growth, measured, tasks })
          if (growth.fits) measured.push({ tasks, bytes: found.peer.bytes })
          await ours.stop()
          figures.push(...figuresOf(subject, tasks, found, comparison.targets))
        }
      } finally {
        await process.stop()
      }
      return figures
    })

/** @throws Error if the peer's outputs differ from the expected ones, so that a broken peer is not measured */
async function check(peer: Peer, process: PeerProcess, texts: readonly PeerText[]): Promise<void> {
  const [expected, found] = [await peer.expected(texts), await process.logits(texts)]
  expected.forEach((logits, i) => {
    const distance = Math.max(...logits.map((logit, c) => Math.abs(logit - (found[i]?.[c] ?? Number.NaN))))
    if (logits.length !== found[i]?.length || !(distance <= peer.tolerance))
      throw new Error(
        `${peer.name}: "${texts[i]?.text}" of task ${texts[i]?.task} has the outputs [${found[i]}]; expected [${logits}]`,
      )
  })
}

interface Side {
  /** Texts per second of each round. */
  readonly perSecond: readonly number[]
  readonly p50Ms: number
  readonly p99Ms: number
}

interface Measured {
  readonly ours: Side & { readonly bytes: number }
  /** Has no side if the peer could not add the tasks. Its memory is then a projection. */
  readonly peer: { readonly side?: Side; readonly bytes: number; readonly remark: string }
}

/** A number of tasks that was measured, and the peer's memory with them. */
interface Size {
  readonly tasks: number
  readonly bytes: number
}

type Round = { readonly perSecond: number; readonly p50Ms: number; readonly p99Ms: number }

async function sideBySide(ours: OurServer, process: PeerProcess, texts: readonly PeerText[]): Promise<Measured> {
  const sides: { ours: Round[]; peer: Round[] } = { ours: [], peer: [] }
  const runOurs = () => roundOf(ours, texts)
  const runPeer = async () => {
    const { seconds, latenciesMs } = await process.load(texts, clients)
    const [p50Ms, p99Ms] = [quantile(latenciesMs, 0.5), quantile(latenciesMs, 0.99)]
    return { perSecond: texts.length / seconds, p50Ms, p99Ms }
  }
  const recorded = (to: Round[], run: () => Promise<Round>) => async () => {
    await pause(settleMs)
    const round = await run()
    to.push(round)
    return round.perSecond
  }
  for (const warmUp of [runOurs, runPeer]) await warmUp()
  await alternate(rounds, recorded(sides.ours, runOurs), recorded(sides.peer, runPeer))
  return {
    ours: { ...sideOf(sides.ours), bytes: ours.bytes },
    peer: { side: sideOf(sides.peer), bytes: process.bytes, remark: 'measured' },
  }
}

async function alone(
  ours: OurServer,
  texts: readonly PeerText[],
  {
    growth,
    measured,
    tasks,
  }: {
    readonly growth: Extract<Growth, { fits: false }>
    readonly measured: readonly Size[]
    readonly tasks: number
  },
): Promise<Measured> {
  await roundOf(ours, texts)
  const measuredRounds: Round[] = []
  for (let round = 0; round < rounds; round++) measuredRounds.push(await roundOf(ours, texts))
  const projected = projectedBytes(measured, tasks)
  const bytes = projected ?? growth.bytesAt(tasks)
  const basis =
    projected === undefined ? 'projected from its growth before any request' : 'projected from smaller numbers of tasks'
  const remark =
    growth.why === 'memory'
      ? `does not fit in memory: about ${(bytes / 1e9).toFixed(1)} GB, ${basis}`
      : `not ready in time: more than ${(growth.secondsAt(tasks) / 60).toFixed(0)} min, projected`
  return { ours: { ...sideOf(measuredRounds), bytes: ours.bytes }, peer: { bytes, remark } }
}

/**
 * Projects the peer's memory from the last two measured sizes. This is better than its growth while it adds tasks, because a
 * session allocates more memory with its first requests.
 */
function projectedBytes(measured: readonly Size[], tasks: number): number | undefined {
  const [before, last] = measured.slice(-2)
  if (before === undefined || last === undefined) return undefined
  return last.bytes + ((last.bytes - before.bytes) / (last.tasks - before.tasks)) * (tasks - last.tasks)
}

async function roundOf(ours: OurServer, texts: readonly PeerText[]): Promise<Round> {
  const { seconds, p50Ms, p99Ms } = await ours.run(texts, clients)
  return { perSecond: texts.length / seconds, p50Ms, p99Ms }
}

const sideOf = (measured: readonly Round[]): Side => ({
  perSecond: measured.map(({ perSecond }) => perSecond),
  p50Ms: median(measured.map(({ p50Ms }) => p50Ms)),
  p99Ms: median(measured.map(({ p99Ms }) => p99Ms)),
})

function figuresOf(subject: string, tasks: number, { ours, peer }: Measured, targets: Comparison['targets']): Figure[] {
  const { throughput, memory } = targets
  const notes = {
    'our texts/s': median(ours.perSecond),
    'our p50 ms': ours.p50Ms,
    'our p99 ms': ours.p99Ms,
    ...(peer.side && {
      "peer's texts/s": median(peer.side.perSecond),
      "peer's p50 ms": peer.side.p50Ms,
      "peer's p99 ms": peer.side.p99Ms,
    }),
  }
  const { side } = peer
  const speed: Figure = side
    ? {
        name: `${subject}: throughput`,
        unit: '×',
        ...summary(ours.perSecond.map((perSecond, round) => perSecond / (side.perSecond[round] ?? Number.NaN))),
        ...(throughput?.tasks === tasks && { target: { atLeast: throughput.atLeast } }),
        notes,
      }
    : {
        name: `${subject}: throughput without the peer`,
        unit: 'texts/s',
        ...summary(ours.perSecond),
        notes: { ...notes, peer: peer.remark },
      }
  const space: Figure = {
    name: `${subject}: resident memory`,
    unit: '×',
    ...summary([ours.bytes / peer.bytes]),
    ...(memory?.tasks === tasks && { target: { atMost: memory.atMost } }),
    notes: { 'our MB': ours.bytes / 1e6, "peer's MB": peer.bytes / 1e6, peer: peer.remark },
  }
  return [speed, space]
}
