// The tenants of the server, for the operator.

import { useState } from 'preact/hooks'
import { ApiError, call, get, path } from '../api/client.js'
import { useAction, usePages } from '../api/query.js'
import type { Tenant, TenantList } from '../api/types.js'
import { bytes, short, when } from '../format.js'
import { go, link } from '../route.js'
import { Button, Empty, Field, FormDialog, Loading, More, Problem, Table } from '../ui/parts.js'
import { LimitFields, settingsOf, type WrittenLimits } from './tenant-form.js'

export function TenantsPage() {
  const [creating, setCreating] = useState(false)
  const { items, error, loading, more, reload } = usePages<Tenant, TenantList>(
    'tenants',
    (after, signal) => get('tenants', { after, limit: 50 }, signal),
    ({ tenants }) => tenants,
  )
  return (
    <>
      <div class="heading">
        <h1>Tenants</h1>
        <div class="tools">
          <a class="button quiet" href={link(['tenants', 'operator'])}>
            Operator keys
          </a>
          <a class="button quiet" href={link(['tenants', 'metrics'])}>
            Metrics keys
          </a>
          <Button kind="primary" onClick={() => setCreating(true)}>
            New tenant
          </Button>
        </div>
      </div>
      <Problem error={error} onRetry={reload} />
      {items.length > 0 && (
        <Table label="Tenants">
          <thead>
            <tr>
              <th scope="col">Tenant</th>
              <th scope="col">Tasks</th>
              <th scope="col">Stored</th>
              <th scope="col">Requests per second</th>
              <th scope="col" class="number">
                Share
              </th>
              <th scope="col">Created</th>
            </tr>
          </thead>
          <tbody>
            {items.map(({ id, usage, limits, share, created }) => (
              <tr key={id}>
                <th scope="row">
                  <a href={link(['tenants', id])}>{id}</a>
                </th>
                <td>{of(usage.tasks, limits.tasks, short)}</td>
                <td>{of(usage.bytes, limits.bytes, bytes)}</td>
                <td>{limits.requests_per_second === null ? 'no limit' : short(limits.requests_per_second)}</td>
                <td class="number">{share}</td>
                <td class="soft">{when(created)}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      {items.length === 0 && loading && <Loading what="tenants" />}
      {items.length === 0 && !loading && !error && (
        <Empty title="No tenants yet">
          <p>
            A tenant is a customer or a team with tasks, keys and limits of its own. Nobody sees the tasks of another
            tenant.
          </p>
          <p>
            <Button kind="primary" onClick={() => setCreating(true)}>
              Create the first one
            </Button>
          </p>
        </Empty>
      )}
      <More more={more} loading={loading && items.length > 0} />
      {creating && <NewTenant onClose={() => setCreating(false)} />}
    </>
  )
}

const of = (used: number, limit: number | null, write: (value: number) => string): string =>
  limit === null ? write(used) : `${write(used)} of ${write(limit)}`

async function exists(id: string): Promise<boolean> {
  try {
    await get<Tenant>(path('tenants', id))
    return true
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return false
    throw error
  }
}

function NewTenant({ onClose }: { readonly onClose: () => void }) {
  const [id, setId] = useState('')
  const [written, setWritten] = useState<WrittenLimits>({})
  const { busy, error, run } = useAction()
  const create = () =>
    void run(async () => {
      // The request would replace the settings of a tenant that exists.
      if (await exists(id)) throw new ApiError(`there is a tenant "${id}" already; open it to change its limits`)
      await call<Tenant>('PUT', path('tenants', id), { json: settingsOf(written) })
      onClose()
      go(['tenants', id])
    })
  return (
    <FormDialog
      title="New tenant"
      action="Create tenant"
      busy={busy}
      disabled={id === ''}
      error={error}
      onSubmit={create}
      onClose={onClose}
    >
      <Field label="Id" hint="Small letters, digits and hyphens">
        {(props) => (
          <input
            {...props}
            required
            pattern="[a-z0-9][a-z0-9\-]{0,62}"
            autocomplete="off"
            spellcheck={false}
            value={id}
            onInput={({ currentTarget }) => setId(currentTarget.value)}
          />
        )}
      </Field>
      <LimitFields written={written} onWritten={setWritten} />
    </FormDialog>
  )
}
