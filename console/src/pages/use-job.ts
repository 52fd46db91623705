// Follows a job over server-sent events until it ends. If the stream breaks, it is opened again.

import { useEffect, useState } from 'preact/hooks'
import { type ApiError, events, get, path } from '../api/client.js'
import { asApiError } from '../api/query.js'
import type { EpochScore, Job, JobProgress, LossPoint } from '../api/types.js'

export interface Followed {
  readonly job: Job
  readonly curve: readonly LossPoint[]
  readonly epochs: readonly EpochScore[]
  /** The step at which the newest epoch ended. */
  readonly epochStep: number
  readonly error: ApiError | undefined
}

const unfinished: readonly string[] = ['queued', 'running']
export const isFinished = ({ state }: Pick<Job, 'state'>): boolean => !unfinished.includes(state)

/** More points than a chart can show. */
const mostPoints = 1000

/** Adds a point, or replaces the one at its place. */
const withPoint = <P>(points: readonly P[], point: P, placeOf: (point: P) => number): readonly P[] =>
  [...points.filter((each) => placeOf(each) !== placeOf(point)), point]
    .sort((a, b) => placeOf(a) - placeOf(b))
    .slice(-mostPoints)

/** Held-out losses by step: epochs are equally long, and the newest one ended at `lastStep`. */
export function heldOutByStep(epochs: readonly EpochScore[], lastStep: number): LossPoint[] {
  const newest = Math.max(1, ...epochs.map(({ epoch }) => epoch))
  return epochs.map(({ epoch, held_out_loss }) => ({
    step: Math.round((lastStep * epoch) / newest),
    loss: held_out_loss,
  }))
}

export function useJob(first: Job, onEnd: (job: Job) => void): Followed {
  const [state, setState] = useState<Followed>(() => followed(first))

  useEffect(() => {
    const stop = new AbortController()
    const route = path('jobs', first.id)
    const show = (job: Job) =>
      setState((old) => {
        // Events of a job have no curve; a later response may have a shorter one than the events had.
        const next = followed(job)
        return next.curve.length > old.curve.length ? next : { ...old, job, error: undefined }
      })
    const progress = ({ step, loss, epoch, held_out_loss }: JobProgress) =>
      setState((old) => {
        const curve =
          step === undefined || loss === undefined
            ? old.curve
            : withPoint(old.curve, { step, loss }, (point) => point.step)
        if (epoch === undefined || held_out_loss === undefined) return { ...old, curve }
        const epochs = withPoint(old.epochs, { epoch, held_out_loss }, (point) => point.epoch)
        const isNewest = epochs.at(-1)?.epoch === epoch
        return { ...old, curve, epochs, epochStep: isNewest ? (curve.at(-1)?.step ?? 0) : old.epochStep }
      })
    const follow = async (): Promise<void> => {
      if (isFinished(first)) return
      while (!stop.signal.aborted) {
        try {
          for await (const { event, data } of events(`${route}/events`, stop.signal)) {
            if (event === 'progress') progress(JSON.parse(data) as JobProgress)
            else if (event === 'job') show(JSON.parse(data) as Job)
          }
          const job = await get<Job>(route, {}, stop.signal)
          show(job)
          if (isFinished(job)) return onEnd(job)
        } catch (error) {
          if (stop.signal.aborted) return
          setState((old) => ({ ...old, error: asApiError(error) }))
        }
        await new Promise((resolve) => setTimeout(resolve, 1000))
      }
    }
    void follow()
    return () => stop.abort()
  }, [first.id])

  return state
}

function followed(job: Job): Followed {
  const { curve = [], epochs = [] } = job
  return { job, curve, epochs, epochStep: curve.at(-1)?.step ?? 0, error: undefined }
}
