// Hooks that load data for a page and cancel what is no longer needed.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { ApiError } from './client.js'

export interface Loaded<T> {
  readonly data: T | undefined
  readonly error: ApiError | undefined
  readonly loading: boolean
  readonly reload: () => void
  /** Shows this until the next load. */
  readonly set: (data: T) => void
}

export const asApiError = (error: unknown): ApiError =>
  error instanceof ApiError ? error : new ApiError(error instanceof Error ? error.message : String(error))

/**
 * Loads when the page opens and when `key` changes.
 * @param everyMs loads again after this time, while the page is visible; 0 for never
 */
export function useLoaded<T>(key: string, load: (signal: AbortSignal) => Promise<T>, everyMs = 0): Loaded<T> {
  const [state, setState] = useState<{ key: string; data?: T; error?: ApiError; loading: boolean }>({
    key,
    loading: true,
  })
  const [round, setRound] = useState(0)
  const latest = useRef(load)
  latest.current = load
  useEffect(() => {
    const stop = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const run = async () => {
      setState((old) => (old.key === key ? { ...old, loading: true } : { key, loading: true }))
      try {
        const data = await latest.current(stop.signal)
        if (!stop.signal.aborted) setState({ key, data, loading: false })
      } catch (error) {
        if (stop.signal.aborted) return
        setState((old) => ({ ...old, error: asApiError(error), loading: false }))
      }
      if (everyMs > 0 && !stop.signal.aborted) timer = setTimeout(again, everyMs)
    }
    const again = () => {
      if (document.hidden) timer = setTimeout(again, everyMs)
      else void run()
    }
    void run()
    return () => {
      clearTimeout(timer)
      stop.abort()
    }
  }, [key, everyMs, round])
  const reload = useCallback(() => setRound((n) => n + 1), [])
  const set = useCallback((data: T) => setState({ key, data, loading: false }), [key])
  const current = state.key === key
  return {
    data: current ? state.data : undefined,
    error: current ? state.error : undefined,
    loading: !current || state.loading,
    reload,
    set,
  }
}

export interface Pages<T, P> extends Omit<Loaded<T[]>, 'data' | 'set'> {
  readonly items: readonly T[]
  /** The first page, which has the totals. */
  readonly first: P | undefined
  /** Undefined on the last page. */
  readonly more: (() => void) | undefined
  readonly change: (change: (items: readonly T[]) => readonly T[]) => void
}

/** Loads a list page by page. A page may be empty although there are more. */
export function usePages<T, P extends { readonly next: string | null }>(
  key: string,
  load: (after: string | undefined, signal: AbortSignal) => Promise<P>,
  itemsOf: (page: P) => readonly T[],
): Pages<T, P> {
  const empty = { key, items: [] as readonly T[], first: undefined as P | undefined, next: null as string | null }
  const [state, setState] = useState({ ...empty, error: undefined as ApiError | undefined, loading: true })
  const [round, setRound] = useState(0)
  const stop = useRef(new AbortController())
  const latest = useRef(load)
  latest.current = load

  const loadFrom = async (after: string | undefined, signal: AbortSignal) => {
    setState((old) => ({ ...old, loading: true }))
    try {
      let next: string | null | undefined = after
      let items: readonly T[] = []
      let first: P | undefined
      // The server bounds the work of a page, so that a filter may find nothing in several pages.
      for (let tries = 0; tries < 10 && items.length === 0; tries++) {
        const page: P = await latest.current(next ?? undefined, signal)
        if (signal.aborted) return
        first ??= page
        items = itemsOf(page)
        next = page.next
        if (next === null) break
      }
      setState((old) => ({
        key,
        items: after === undefined ? items : [...old.items, ...items],
        first: after === undefined ? first : old.first,
        next: next ?? null,
        error: undefined,
        loading: false,
      }))
    } catch (error) {
      if (!signal.aborted) setState((old) => ({ ...old, key, error: asApiError(error), loading: false }))
    }
  }

  useEffect(() => {
    const controller = new AbortController()
    stop.current = controller
    void loadFrom(undefined, controller.signal)
    return () => controller.abort()
  }, [key, round])

  const reload = useCallback(() => setRound((n) => n + 1), [])
  const change = useCallback(
    (edit: (items: readonly T[]) => readonly T[]) => setState((old) => ({ ...old, items: edit(old.items) })),
    [],
  )
  const { next } = state
  const current = state.key === key
  return {
    items: state.items,
    first: state.first,
    error: current ? state.error : undefined,
    loading: !current || state.loading,
    more: next === null || state.loading ? undefined : () => void loadFrom(next, stop.current.signal),
    reload,
    change,
  }
}

/** Runs an action of a button: whether it runs, and its error. */
export function useAction(): {
  readonly busy: boolean
  readonly error: ApiError | undefined
  readonly run: (action: () => Promise<void>) => Promise<void>
  readonly clear: () => void
} {
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<ApiError>()
  const run = useCallback(async (action: () => Promise<void>) => {
    setBusy(true)
    setError(undefined)
    try {
      await action()
    } catch (thrown) {
      setError(asApiError(thrown))
    } finally {
      setBusy(false)
    }
  }, [])
  return { busy, error, run, clear: useCallback(() => setError(undefined), []) }
}
