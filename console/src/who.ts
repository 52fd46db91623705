// Whose a key is. The API has no route for this, so it follows from what the key may read.

import { ApiError, call } from './api/client.js'
import type { Role } from './api/session.js'
import type { TaskList, TenantList } from './api/types.js'

/** @throws ApiError for a key that the server does not accept, unless there is no key */
export async function roleOf(key: string | null, signal?: AbortSignal): Promise<Role> {
  const query = { limit: 1 }
  if (key === null) {
    try {
      await call<TaskList>('GET', 'tasks', { query, key, signal })
      return 'open'
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return 'signed-out'
      throw error
    }
  }
  try {
    await call<TenantList>('GET', 'tenants', { query, key, signal })
    return 'operator'
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 403) throw error
    // A tenant may read tasks. A key that only reads metrics may not.
    await call<TaskList>('GET', 'tasks', { query, key, signal })
    return 'tenant'
  }
}
