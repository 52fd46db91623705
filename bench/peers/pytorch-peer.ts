// A PyTorch script as one side of a comparison: it does its work once per line of stdin and prints the milliseconds.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { alternate, type Figure, median, summary } from '../support/figures.js'

/** Threads of a side may spin for a while after their work. The other side waits until they sleep. */
const settleMs = 300

export interface PyTorchPeer {
  /** The lines that the script printed when it was ready. The last one names PyTorch and its number of threads. */
  readonly ready: readonly string[]
  /** Runs once. @returns milliseconds */
  run(): Promise<number>
  close(): void
}

/**
 * @param python an interpreter with bench/peers/requirements.txt installed
 * @param script a file in bench/peers
 * @param readyLines number of lines that the script prints before it reads stdin
 */
export async function startPyTorch(
  python: string,
  script: string,
  args: readonly string[],
  readyLines = 1,
): Promise<PyTorchPeer> {
  const path = fileURLToPath(new URL(`../../../bench/peers/${script}`, import.meta.url))
  const peer = spawn(python, [path, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: peer.stdout })[Symbol.asyncIterator]()
  const failure = new Promise<never>((_, reject) => {
    peer.once('error', reject)
  })
  const next = async (): Promise<string> => {
    const { value, done } = await Promise.race([lines.next(), failure])
    if (done) throw new Error(`${python} ${path} exited before it responded`)
    return value
  }
  const ready: string[] = []
  for (let line = 0; line < readyLines; line++) ready.push(await next())
  return {
    ready,
    run: async () => {
      peer.stdin.write('run\n')
      return Number(await next())
    },
    close: () => peer.stdin.end(),
  }
}

/**
 * The time of PyTorch divided by ours, in rounds that alternate.
 * @param ours runs once and returns milliseconds
 * @param runsPerRound a round is one warm-up run, and the mean of this number of further runs
 */
export async function againstPyTorch(
  peer: PyTorchPeer,
  ours: () => Promise<number>,
  { rounds, runsPerRound }: { readonly rounds: number; readonly runsPerRound: number },
): Promise<Pick<Figure, 'value' | 'spread' | 'repeats' | 'notes'>> {
  const round = async (run: () => Promise<number>) => {
    await pause(settleMs)
    await run()
    let ms = 0
    for (let i = 0; i < runsPerRound; i++) ms += await run()
    return ms / runsPerRound
  }
  const { a, b, ratios } = await alternate(
    rounds,
    () => round(() => peer.run()),
    () => round(ours),
  )
  return { ...summary(ratios), notes: { 'PyTorch ms': median(a), 'our ms': median(b) } }
}
