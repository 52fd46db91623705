// One tenant: what it uses, its limits, and its API keys. `operator` and `metrics` have keys only.

import { useState } from 'preact/hooks'
import { call, get, path } from '../api/client.js'
import { useAction, useLoaded } from '../api/query.js'
import type { ApiKey, ApiKeyList, CreatedApiKey, Tenant } from '../api/types.js'
import { bytes, count, when } from '../format.js'
import { link } from '../route.js'
import {
  ActionsHeading,
  Badge,
  Button,
  Confirm,
  Facts,
  Field,
  FormDialog,
  Loading,
  Notice,
  Problem,
  Table,
} from '../ui/parts.js'
import { LimitFields, limitNames, nameOfLimit, settingsOf, writtenOf } from './tenant-form.js'

export function TenantPage({ id }: { readonly id: string }) {
  const special = id === 'operator' || id === 'metrics'
  return (
    <>
      <p class="crumbs">
        <a href={link(['tenants'])}>Tenants</a>
      </p>
      <div class="heading">
        <h1>{id}</h1>
      </div>
      <div class="stack">
        {special ? (
          <p class="soft">
            {id === 'operator' ? 'These keys manage tenants and all settings.' : 'These keys only read /metrics.'}
          </p>
        ) : (
          <Limits id={id} />
        )}
        <Keys id={id} />
      </div>
    </>
  )
}

function Limits({ id }: { readonly id: string }) {
  const { data, error, reload, set } = useLoaded(id, (signal) => get<Tenant>(path('tenants', id), {}, signal))
  const [editing, setEditing] = useState(false)
  if (error) return <Problem error={error} onRetry={reload} />
  if (!data) return <Loading what="the tenant" />
  const { usage, share, created } = data
  const limits: Readonly<Record<string, number | null | undefined>> = data.limits
  const used: Readonly<Record<string, number | undefined>> = usage
  const facts = limitNames
    .filter((name) => limits[name] !== undefined)
    .map((name) => {
      const write = name === 'bytes' ? bytes : count
      const limit = limits[name] ?? null
      const most = limit === null ? 'no limit' : write(limit)
      const now = used[name]
      return { name: nameOfLimit(name).toLowerCase(), value: now === undefined ? most : `${write(now)} of ${most}` }
    })
  return (
    <section class="card" aria-labelledby="limits">
      <div class="heading">
        <h2 id="limits">Use and limits</h2>
        <Button onClick={() => setEditing(true)}>Change limits</Button>
      </div>
      <Facts
        facts={[...facts, { name: 'share under load', value: share }, { name: 'created', value: when(created) }]}
      />
      {editing && (
        <EditLimits
          tenant={data}
          onSaved={(tenant) => {
            set(tenant)
            setEditing(false)
          }}
          onClose={() => setEditing(false)}
        />
      )}
    </section>
  )
}

function EditLimits({
  tenant,
  onSaved,
  onClose,
}: {
  readonly tenant: Tenant
  readonly onSaved: (tenant: Tenant) => void
  readonly onClose: () => void
}) {
  const [written, setWritten] = useState(writtenOf(tenant))
  const { busy, error, run } = useAction()
  const save = () =>
    void run(async () => {
      onSaved(await call<Tenant>('PATCH', path('tenants', tenant.id), { json: settingsOf(written) }))
    })
  return (
    <FormDialog
      title={`Limits of ${tenant.id}`}
      action="Save"
      busy={busy}
      error={error}
      onSubmit={save}
      onClose={onClose}
    >
      <LimitFields written={written} onWritten={setWritten} />
    </FormDialog>
  )
}

function Keys({ id }: { readonly id: string }) {
  const route = path('tenants', id, 'keys')
  const { data, error, reload } = useLoaded(id, (signal) => get<ApiKeyList>(route, {}, signal))
  const [creating, setCreating] = useState(false)
  const [created, setCreated] = useState<CreatedApiKey>()
  const [revoking, setRevoking] = useState<ApiKey>()
  const revoke = useAction()
  return (
    <section aria-labelledby="keys">
      <div class="heading">
        <h2 id="keys">API keys</h2>
        <Button kind="primary" onClick={() => setCreating(true)}>
          New key
        </Button>
      </div>
      {created && <NewKey created={created} />}
      <Problem error={error} onRetry={reload} />
      {!data && !error && <Loading what="keys" />}
      {data?.keys.length === 0 && (
        <p class="soft">No keys yet. Create one and give it to the programs or people who use it.</p>
      )}
      {data && data.keys.length > 0 && (
        <Table label="API keys">
          <thead>
            <tr>
              <th scope="col">Key</th>
              <th scope="col">Note</th>
              <th scope="col">Created</th>
              <th scope="col">Expires</th>
              <ActionsHeading />
            </tr>
          </thead>
          <tbody>
            {data.keys.map((key) => (
              <tr key={key.id}>
                <th scope="row">
                  <code>{key.id}</code>
                </th>
                <td>{key.description ?? <span class="soft">–</span>}</td>
                <td class="soft">{when(key.created)}</td>
                <td>
                  <Expiry expires={key.expires} />
                </td>
                <td class="number">
                  <Button kind="quiet" aria-label={`Revoke key ${key.id}`} onClick={() => setRevoking(key)}>
                    Revoke
                  </Button>
                </td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      {creating && (
        <CreateKey
          route={route}
          onCreated={(key) => {
            setCreating(false)
            setCreated(key)
            reload()
          }}
          onClose={() => setCreating(false)}
        />
      )}
      {revoking && (
        <Confirm
          title={`Revoke key ${revoking.id}?`}
          action="Revoke key"
          busy={revoke.busy}
          error={revoke.error}
          onConfirm={() =>
            void revoke.run(async () => {
              await call<void>('DELETE', `${route}/${path(revoking.id)}`)
              setRevoking(undefined)
              reload()
            })
          }
          onClose={() => setRevoking(undefined)}
        >
          <p>Programs that use it get an error from then on. This cannot be undone.</p>
        </Confirm>
      )}
    </section>
  )
}

function Expiry({ expires }: { readonly expires: string | null }) {
  if (expires === null) return <span class="soft">never</span>
  return new Date(expires).getTime() < Date.now() ? <Badge tone="bad">expired</Badge> : <span>{when(expires)}</span>
}

function NewKey({ created: { id, key } }: { readonly created: CreatedApiKey }) {
  const [copied, setCopied] = useState(false)
  return (
    <Notice kind="good">
      <p>Key {id} was created. Copy it now: it is shown only here and only once.</p>
      <p class="secret">
        <code>{key}</code>{' '}
        <Button
          onClick={() =>
            // Browsers allow this only over HTTPS and on localhost. The key can always be selected.
            void navigator.clipboard?.writeText(key).then(() => setCopied(true))
          }
        >
          {copied ? 'Copied' : 'Copy'}
        </Button>
      </p>
    </Notice>
  )
}

function CreateKey({
  route,
  onCreated,
  onClose,
}: {
  readonly route: string
  readonly onCreated: (key: CreatedApiKey) => void
  readonly onClose: () => void
}) {
  const [note, setNote] = useState('')
  const [days, setDays] = useState('')
  const { busy, error, run } = useAction()
  const create = () =>
    void run(async () => {
      const json = {
        ...(note !== '' && { description: note }),
        ...(days !== '' && { expires: new Date(Date.now() + Number(days) * 86_400_000).toISOString() }),
      }
      onCreated(await call<CreatedApiKey>('POST', route, { json }))
    })
  return (
    <FormDialog title="New API key" action="Create key" busy={busy} error={error} onSubmit={create} onClose={onClose}>
      <Field label="Note" hint="For people, such as where the key is used">
        {(props) => (
          <input
            {...props}
            maxLength={200}
            value={note}
            onInput={({ currentTarget }) => setNote(currentTarget.value)}
          />
        )}
      </Field>
      <Field label="Days until it expires" hint="Empty: never">
        {(props) => (
          <input
            {...props}
            type="number"
            min={1}
            max={36_500}
            value={days}
            onInput={({ currentTarget }) => setDays(currentTarget.value)}
          />
        )}
      </Field>
    </FormDialog>
  )
}
