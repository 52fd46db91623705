// Follows a job over server-sent events until it ends. If the stream breaks, it is opened again.

import { useEffect, useState } from 'preact/hooks'
import { type ApiError, events, get, path } from '../api/client.js'
import { asApiError } from '../api/query.js'
import type { EpochScore, Job, JobProgress, LossPoint } from '../api/types.js'

export interface Followed {
  readonly job: Job
  readonly curve: readonly LossPoint[]
  /** Held-out losses by step. */
  readonly heldOut: readonly LossPoint[]
  readonly error: ApiError | undefined
}

const unfinished: readonly string[] = ['queued', 'running']
export const isFinished = ({ state }: Pick<Job, 'state'>): boolean => !unfinished.includes(state)

/** More points than a chart can show. */
const mostPoints = 1000

/** Adds a point, or replaces the one of its step. */
const withPoint = (points: readonly LossPoint[], point: LossPoint): readonly LossPoint[] =>
  [...points.filter(({ step }) => step !== point.step), point].sort((a, b) => a.step - b.step).slice(-mostPoints)

/** The step at which each epoch ended. */
function stepsOf(epochs: readonly EpochScore[], curve: readonly LossPoint[]): LossPoint[] {
  const lastStep = curve.at(-1)?.step ?? epochs.length
  const last = epochs.at(-1)?.epoch ?? 1
  return epochs.map(({ epoch, held_out_loss }) => ({
    step: Math.round((lastStep * epoch) / Math.max(1, last)),
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
        const next = followed(job)
        return {
          ...next,
          curve: next.curve.length > old.curve.length ? next.curve : old.curve,
          heldOut: next.heldOut.length > old.heldOut.length ? next.heldOut : old.heldOut,
        }
      })
    const progress = ({ step, loss, held_out_loss }: JobProgress) =>
      setState((old) => {
        const at = step ?? old.curve.at(-1)?.step ?? 0
        return {
          ...old,
          curve: loss === undefined ? old.curve : withPoint(old.curve, { step: at, loss }),
          heldOut:
            held_out_loss === undefined ? old.heldOut : withPoint(old.heldOut, { step: at, loss: held_out_loss }),
        }
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
  const curve = job.curve ?? []
  return { job, curve, heldOut: stepsOf(job.epochs ?? [], curve), error: undefined }
}
