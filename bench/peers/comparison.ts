// Our server and a peer, in turns on the same requests, at ever more tasks: throughput, latency and memory.

import { setTimeout as pause } from 'node:timers/promises'
import type { Numerics } from '../../src/runtime/execution-providers.js'
import { type Benchmark, type Figure, inTurns, median, quantile, summary, tableRow } from '../support/figures.js'
import { withDirectory } from '../support/material.js'
import { Ours } from './ours.js'
import type { Peer } from './peer.js'
import type { Growth, PeerProcess } from './peer-process.js'
import type { PeerText } from './protocol.js'
import { workload } from './workload.js'

export interface Comparison {
  readonly peer: Peer
  /** What our server computes in. */
  readonly numerics: Numerics
  /** Numbers of tasks, ascending. */
  readonly sizes: readonly number[]
  /** What must be reached, at so many tasks: texts a second, ours over the peer's; memory, ours over the peer's. */
  readonly targets: {
    readonly throughput?: { readonly tasks: number; readonly atLeast: number }
    readonly memory?: { readonly tasks: number; readonly atMost: number }
  }
}

const clients = 64
const textsOfTurn = 4 * clients
const turns = 5
const checkedTexts = 12
/** Threads of either side may spin for a while after their work: the other waits until they sleep. */
const settleMs = 300

export const compare =
  (comparison: Comparison): Benchmark =>
  (say) =>
    withDirectory(async (directory) => {
      const { peer, numerics, sizes } = comparison
      const process = await peer.start(directory)
      const figures: Figure[] = []
      try {
        let growth: Growth = { fits: true }
        const measured: Size[] = []
        for (const tasks of sizes) {
          const what = `${tasks} ${tasks === 1 ? 'task' : 'tasks'}, ours in ${numerics} against ${peer.name}`
          say(`${what} …`)
          if (growth.fits) growth = await process.grow(tasks)
          const texts = workload(tasks, textsOfTurn)
          if (growth.fits) await check(peer, process, texts.slice(0, checkedTexts))
          const ours = await Ours.start(directory, tasks, numerics)
          const found = growth.fits
            ? await sideBySide(ours, process, texts)
            : await alone(ours, texts, { growth, measured, tasks })
          if (growth.fits) measured.push({ tasks, bytes: found.peer.bytes })
          await ours.stop()
          const size = figuresOf(what, tasks, found, comparison.targets)
          // A peer may take minutes a size: what was found is told at once.
          for (const figure of size) say(tableRow(figure))
          figures.push(...size)
        }
      } finally {
        await process.stop()
      }
      return figures
    })

/** @throws Error if the peer's outputs are not what they should be: a broken peer is not measured. */
async function check(peer: Peer, process: PeerProcess, texts: readonly PeerText[]): Promise<void> {
  const [expected, found] = [await peer.expected(texts), await process.logits(texts)]
  expected.forEach((logits, i) => {
    const distance = Math.max(...logits.map((logit, c) => Math.abs(logit - (found[i]?.[c] ?? Number.NaN))))
    if (logits.length !== found[i]?.length || !(distance <= peer.tolerance))
      throw new Error(
        `${peer.name}: "${texts[i]?.text}" of task ${texts[i]?.task} gave [${found[i]}]; expected [${logits}]`,
      )
  })
}

interface Side {
  /** Texts a second of each turn. */
  readonly perSecond: readonly number[]
  readonly p50Ms: number
  readonly p99Ms: number
}

interface Found {
  readonly ours: Side & { readonly bytes: number }
  /** Without a side where the peer did not take so many tasks; its memory is then what they would take. */
  readonly peer: { readonly side?: Side; readonly bytes: number; readonly remark: string }
}

/** Tasks that a peer took on and was asked for, and its memory then. */
interface Size {
  readonly tasks: number
  readonly bytes: number
}

type Turn = { readonly perSecond: number; readonly p50Ms: number; readonly p99Ms: number }

async function sideBySide(ours: Ours, process: PeerProcess, texts: readonly PeerText[]): Promise<Found> {
  const sides: { ours: Turn[]; peer: Turn[] } = { ours: [], peer: [] }
  const askOurs = () => turnOf(ours, texts)
  const askPeer = async () => {
    const { seconds, latenciesMs } = await process.load(texts, clients)
    const [p50Ms, p99Ms] = [quantile(latenciesMs, 0.5), quantile(latenciesMs, 0.99)]
    return { perSecond: texts.length / seconds, p50Ms, p99Ms }
  }
  const into = (turns: Turn[], ask: () => Promise<Turn>) => async () => {
    await pause(settleMs)
    const turn = await ask()
    turns.push(turn)
    return turn.perSecond
  }
  for (const warmUp of [askOurs, askPeer]) await warmUp()
  await inTurns(turns, into(sides.ours, askOurs), into(sides.peer, askPeer))
  return {
    ours: { ...sideOf(sides.ours), bytes: ours.bytes },
    peer: { side: sideOf(sides.peer), bytes: process.bytes, remark: 'measured' },
  }
}

async function alone(
  ours: Ours,
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
): Promise<Found> {
  await turnOf(ours, texts)
  const found: Turn[] = []
  for (let turn = 0; turn < turns; turn++) found.push(await turnOf(ours, texts))
  const asked = projected(measured, tasks)
  const bytes = asked ?? growth.bytesAt(tasks)
  const how = asked === undefined ? 'by its growth before it is asked anything' : 'as it grew from size to size'
  const remark =
    growth.why === 'memory'
      ? `does not fit: about ${(bytes / 1e9).toFixed(1)} GB ${how}`
      : `not ready in time: more than ${(growth.secondsAt(tasks) / 60).toFixed(0)} minutes by its growth`
  return { ours: { ...sideOf(found), bytes: ours.bytes }, peer: { bytes, remark } }
}

/** What a peer would take: a session takes more once it was asked, so sizes that were measured tell better than its growth. */
function projected(measured: readonly Size[], tasks: number): number | undefined {
  const [before, last] = measured.slice(-2)
  if (before === undefined || last === undefined) return undefined
  return last.bytes + ((last.bytes - before.bytes) / (last.tasks - before.tasks)) * (tasks - last.tasks)
}

async function turnOf(ours: Ours, texts: readonly PeerText[]): Promise<Turn> {
  const { seconds, p50Ms, p99Ms } = await ours.ask(texts, clients)
  return { perSecond: texts.length / seconds, p50Ms, p99Ms }
}

const sideOf = (turns: readonly Turn[]): Side => ({
  perSecond: turns.map(({ perSecond }) => perSecond),
  p50Ms: median(turns.map(({ p50Ms }) => p50Ms)),
  p99Ms: median(turns.map(({ p99Ms }) => p99Ms)),
})

function figuresOf(what: string, tasks: number, { ours, peer }: Found, targets: Comparison['targets']): Figure[] {
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
        what: `${what}: throughput over the peer's`,
        unit: '×',
        ...summary(ours.perSecond.map((perSecond, turn) => perSecond / (side.perSecond[turn] ?? Number.NaN))),
        ...(throughput?.tasks === tasks && { target: { atLeast: throughput.atLeast } }),
        notes,
      }
    : {
        what: `${what}: throughput alone`,
        unit: 'texts/s',
        ...summary(ours.perSecond),
        notes: { ...notes, "the peer's": peer.remark },
      }
  const space: Figure = {
    what: `${what}: resident memory over the peer's`,
    unit: '×',
    ...summary([ours.bytes / peer.bytes]),
    ...(memory?.tasks === tasks && { target: { atMost: memory.atMost } }),
    notes: { 'our MB': ours.bytes / 1e6, "peer's MB": peer.bytes / 1e6, "the peer's": peer.remark },
  }
  return [speed, space]
}
