// Pages have addresses after the `#`, so that the server needs to know only one page, under whichever path.

import { useEffect, useState } from 'preact/hooks'

export interface Route {
  readonly parts: readonly string[]
  readonly query: URLSearchParams
}

function read(): Route {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?', 2)
  const parts = path.split('/').flatMap((part) => {
    try {
      return part === '' ? [] : [decodeURIComponent(part)]
    } catch {
      return []
    }
  })
  return { parts, query: new URLSearchParams(query) }
}

export function useRoute(): Route {
  const [route, setRoute] = useState(read)
  useEffect(() => {
    const changed = () => setRoute(read())
    addEventListener('hashchange', changed)
    return () => removeEventListener('hashchange', changed)
  }, [])
  return route
}

/** The address of a page, for links. */
export function link(parts: readonly (string | number)[], query: Readonly<Record<string, string>> = {}): string {
  const search = new URLSearchParams(query).toString()
  return `#/${parts.map((part) => encodeURIComponent(part)).join('/')}${search && `?${search}`}`
}

export const go = (...address: Parameters<typeof link>): void => {
  location.hash = link(...address)
}
