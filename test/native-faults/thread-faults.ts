// Faults of single threads in a process that a test starts. A thread crashes or hangs as if native code in it did.

import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { buildLibrary, Control } from './library.js'

/** The thread writes to a bad address (SIGSEGV), reads beyond a truncated mapping (SIGBUS), or never returns. */
export type ThreadFault = 'bad address' | 'truncated map' | 'endless loop'

// The order is that of the library.
const faults: readonly ThreadFault[] = ['bad address', 'truncated map', 'endless loop']
const place = { thread: 0, fault: 1 }
const signal = 60

export class ThreadFaults {
  private constructor(
    readonly control: Control,
    /** Environment variables for the process. */
    readonly env: Readonly<Record<string, string>>,
  ) {}

  static async create(): Promise<ThreadFaults> {
    const control = await Control.create(Object.keys(place).length)
    const env = { LD_PRELOAD: await buildLibrary('thread-faults'), THREAD_FAULTS_CONTROL: control.path }
    return new ThreadFaults(control, env)
  }

  /** @param thread the kernel's thread id; that of the main thread is the process id */
  cause(fault: ThreadFault, pid: number, thread: number): void {
    this.control.write(place.thread, thread)
    this.control.write(place.fault, faults.indexOf(fault))
    process.kill(pid, signal)
  }

  close(): void {
    this.control.close()
  }
}

/** The thread other than the main one that uses the most processor time: the one that computes. */
export async function busiestThread(pid: number, whileMs: number): Promise<number> {
  const before = ticksOf(pid)
  await delay(whileMs)
  const spent = [...ticksOf(pid)]
    .filter(([thread]) => thread !== pid)
    .map(([thread, ticks]) => ({ thread, ticks: ticks - (before.get(thread) ?? 0) }))
    .sort((a, b) => b.ticks - a.ticks)
  const [busiest] = spent
  if (busiest === undefined || busiest.ticks === 0) throw new Error('no thread computes')
  return busiest.thread
}

/** Processor time in user mode of each thread, in clock ticks. */
function ticksOf(pid: number): ReadonlyMap<number, number> {
  const folder = `/proc/${pid}/task`
  return new Map(
    readdirSync(folder).map((thread) => {
      const [, fields = ''] = /\) (.*)/.exec(readFileSync(`${folder}/${thread}/stat`, 'utf8')) ?? []
      return [Number(thread), Number(fields.split(' ')[11])]
    }),
  )
}
