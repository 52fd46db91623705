// The events of a job as a stream of text. The state is looked at a few times a second, and only while the client reads. A
// slow client therefore gets fewer events, not a growing buffer.

import { setTimeout as delay } from 'node:timers/promises'
import { isUnfinished, type Job } from '../jobs/job.js'
import type { CurrentJob } from '../jobs/learning.js'

/** Between two looks, in milliseconds. */
const lookEveryMs = 250
/** Proxies close connections that are silent for longer. */
const silenceMs = 15_000
/** Between two checks whether the caller still has access. */
const checkEveryMs = 10_000

export interface JobEventsOptions {
  /** Undefined ends the stream: the job is gone, or the server shuts down. */
  readonly read: () => CurrentJob | undefined
  /** Asked now and then, because the caller may lose its access. */
  readonly mayGoOn: () => boolean
  readonly write: (job: Job) => object
  /** Aborted when the client has disconnected. */
  readonly signal: AbortSignal
}

export async function* jobEventsOf({ read, mayGoOn, write, signal }: JobEventsOptions): AsyncGenerator<string> {
  let sent = ''
  let [lastStep, lastEpoch] = [-1, -1]
  let [spokenAt, checkedAt] = [performance.now(), performance.now()]
  while (!signal.aborted) {
    const current = read()
    if (current === undefined) return
    const job = eventText('job', write(current.job))
    let text = ''
    if (current.runsHere || job !== sent) {
      const { curve, epochs } = current.details()
      for (const point of newer(curve, lastStep, ({ step }) => step)) {
        text += eventText('progress', point)
        lastStep = point.step
      }
      for (const { epoch, heldOutLoss } of newer(epochs, lastEpoch, (each) => each.epoch)) {
        text += eventText('progress', { epoch, held_out_loss: heldOutLoss })
        lastEpoch = epoch
      }
    }
    if (job !== sent) text += job
    sent = job
    const now = performance.now()
    if (now - checkedAt > checkEveryMs) {
      if (!mayGoOn()) return
      checkedAt = now
    }
    if (text === '' && now - spokenAt > silenceMs) text = ': the job has not changed\n\n'
    if (text !== '') {
      spokenAt = now
      yield text
    }
    if (!isUnfinished(current.job.state)) return
    await delay(lookEveryMs, undefined, { signal, ref: false }).catch(() => {})
  }
}

/** JSON has no line ends. */
const eventText = (event: string, data: object): string => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`

/** The last points, whose position is after `last`. */
function newer<T>(points: readonly T[], last: number, at: (point: T) => number): readonly T[] {
  let from = points.length
  for (; from > 0; from--) {
    const point = points[from - 1]
    if (point === undefined || at(point) <= last) break
  }
  return points.slice(from)
}
