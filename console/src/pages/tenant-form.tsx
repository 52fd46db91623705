// The limits of a tenant, for a new one and for a change.

import type { Tenant, TenantSettings } from '../api/types.js'
import { Field } from '../ui/parts.js'

const names = {
  tasks: 'Tasks',
  examples: 'Examples',
  bytes: 'Bytes of tasks and examples',
  requests_per_second: 'Requests per second',
  tokens_per_second: 'Tokens per second',
} as const

export type LimitName = keyof typeof names
export const limitNames = Object.keys(names) as LimitName[]
export const nameOfLimit = (name: LimitName): string => names[name]

/** What is written in the fields. */
export type WrittenLimits = Partial<Record<LimitName, string>> & { readonly share?: string }

/** The limits that the server knows. One that knows no examples rejects a limit of them. */
const writtenIn = (limits: Readonly<Record<string, number | null | undefined>>): WrittenLimits =>
  Object.fromEntries(
    limitNames.flatMap((name) => (typeof limits[name] === 'number' ? [[name, String(limits[name])]] : [])),
  )

export const writtenOf = ({ limits, share }: Tenant): WrittenLimits => ({ ...writtenIn(limits), share: String(share) })

export function settingsOf(written: WrittenLimits): TenantSettings {
  const limits = limitNames.flatMap((name) => {
    const value = written[name]
    return value === undefined ? [] : [[name, value === '' ? null : Number(value)]]
  })
  return {
    limits: Object.fromEntries(limits),
    ...(written.share !== undefined && written.share !== '' && { share: Number(written.share) }),
  }
}

export const LimitFields = ({
  written,
  onWritten,
}: {
  readonly written: WrittenLimits
  readonly onWritten: (written: WrittenLimits) => void
}) => (
  <>
    <p class="fine">An empty field means no limit.</p>
    <div class="columns">
      {limitNames.map((name) => (
        <Field key={name} label={names[name]}>
          {(props) => (
            <input
              {...props}
              type="number"
              min={name.endsWith('second') ? 1 : 0}
              value={written[name] ?? ''}
              onInput={({ currentTarget }) => onWritten({ ...written, [name]: currentTarget.value })}
            />
          )}
        </Field>
      ))}
      <Field label="Share under load">
        {(props) => (
          <input
            {...props}
            type="number"
            min={1}
            max={1000}
            placeholder="1"
            value={written.share ?? ''}
            onInput={({ currentTarget }) => onWritten({ ...written, share: currentTarget.value })}
          />
        )}
      </Field>
    </div>
  </>
)
