// The API key of this browser tab. It is kept in sessionStorage only, so that it disappears with the tab.

import { useEffect, useState } from 'preact/hooks'

const name = 'propetl-key'

/**
 * `unknown` until the first response; `open`: the server has no keys; `signed-out`: it needs one;
 * `operator` and `tenant`: whose key this is.
 */
export type Role = 'unknown' | 'open' | 'signed-out' | 'operator' | 'tenant'

let role: Role = 'unknown'
const listeners = new Set<() => void>()

export const currentKey = (): string | null => sessionStorage.getItem(name)

export function setRole(next: Role): void {
  if (next === role) return
  role = next
  for (const listener of listeners) listener()
}

export function keepKey(key: string): void {
  sessionStorage.setItem(name, key)
}

export function signOut(): void {
  sessionStorage.removeItem(name)
  setRole('signed-out')
}

export function useRole(): Role {
  const [, update] = useState(role)
  useEffect(() => {
    const listener = () => update(role)
    listeners.add(listener)
    listener()
    return () => void listeners.delete(listener)
  }, [])
  return role
}
