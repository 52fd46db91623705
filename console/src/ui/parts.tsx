// The small parts that all pages use: buttons, messages, fields, badges, dialogs.

import type { ComponentChildren, JSX } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import type { ApiError } from '../api/client.js'
import { ago, percent, when } from '../format.js'

type ButtonProps = Omit<JSX.IntrinsicElements['button'], 'type' | 'disabled'> & {
  readonly kind?: 'primary' | 'plain' | 'danger' | 'quiet'
  readonly type?: 'button' | 'submit'
  readonly disabled?: boolean | undefined
  readonly busy?: boolean
}

export function Button({ kind = 'plain', type = 'button', busy = false, disabled, children, ...rest }: ButtonProps) {
  return (
    <button {...rest} type={type} class={`button ${kind}`} disabled={(disabled ?? false) || busy} aria-busy={busy}>
      {children}
    </button>
  )
}

/** What the server said about a failed request. */
export function Problem({ error, onRetry }: { readonly error: ApiError | undefined; readonly onRetry?: () => void }) {
  if (error === undefined) return null
  return (
    <div class="notice bad" role="alert">
      <p>{capitalised(error.message)}</p>
      {(error.requestId !== undefined || onRetry) && (
        <p class="fine">
          {error.requestId !== undefined && (
            <>
              Request <code>{error.requestId}</code>{' '}
            </>
          )}
          {onRetry && (
            <Button kind="quiet" onClick={onRetry}>
              Try again
            </Button>
          )}
        </p>
      )}
    </div>
  )
}

const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

export function Notice({
  kind = 'info',
  children,
}: {
  readonly kind?: 'info' | 'good' | 'warn'
  readonly children: ComponentChildren
}) {
  return (
    <div class={`notice ${kind}`} role="status">
      {children}
    </div>
  )
}

/** What to do next where there is nothing to show. */
export function Empty({ title, children }: { readonly title: string; readonly children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  )
}

export const Loading = ({ what }: { readonly what: string }) => (
  <p class="loading" role="status">
    Loading {what}…
  </p>
)

type Tone = 'good' | 'bad' | 'warn' | 'accent' | 'neutral'

export const Badge = ({
  tone = 'neutral',
  children,
}: {
  readonly tone?: Tone
  readonly children: ComponentChildren
}) => <span class={`badge ${tone}`}>{children}</span>

export function Field({
  label,
  hint,
  children,
}: {
  readonly label: string
  readonly hint?: ComponentChildren
  /** @param props for the input: its id, and the id of the hint */
  readonly children: (props: { id: string; 'aria-describedby'?: string }) => ComponentChildren
}) {
  const id = useId()
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, ...(hint !== undefined && { 'aria-describedby': `${id}-hint` }) })}
      {hint !== undefined && (
        <p class="fine" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  )
}

/** A modal dialog. The browser keeps the focus inside and returns it. */
export function Dialog({
  title,
  onClose,
  wide = false,
  children,
}: {
  readonly title: string
  readonly onClose: () => void
  readonly wide?: boolean
  readonly children: ComponentChildren
}) {
  const dialog = useRef<HTMLDialogElement>(null)
  const heading = useId()
  useEffect(() => {
    dialog.current?.showModal()
  }, [])
  return (
    <dialog ref={dialog} aria-labelledby={heading} class={wide ? 'wide' : ''} onClose={onClose}>
      <header>
        <h2 id={heading}>{title}</h2>
        <button type="button" class="close" aria-label="Close" onClick={() => dialog.current?.close()}>
          ×
        </button>
      </header>
      <div class="dialog-body">{children}</div>
    </dialog>
  )
}

/** A dialog whose form is sent once it is complete. */
export function FormDialog({
  title,
  action,
  cancel = 'Cancel',
  busy,
  disabled = false,
  error,
  onSubmit,
  onClose,
  children,
}: {
  readonly title: string
  readonly action: string
  readonly cancel?: string
  readonly busy: boolean
  readonly disabled?: boolean
  readonly error: ApiError | undefined
  readonly onSubmit: () => void
  readonly onClose: () => void
  readonly children: ComponentChildren
}) {
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          onSubmit()
        }}
      >
        {children}
        <Problem error={error} />
        <div class="actions">
          <Button onClick={onClose}>{cancel}</Button>
          <Button kind="primary" type="submit" busy={busy} disabled={disabled}>
            {action}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}

/** Asks before something that cannot be undone. */
export function Confirm({
  title,
  action,
  busy,
  error,
  onConfirm,
  onClose,
  children,
}: {
  readonly title: string
  readonly action: string
  readonly busy: boolean
  readonly error: ApiError | undefined
  readonly onConfirm: () => void
  readonly onClose: () => void
  readonly children: ComponentChildren
}) {
  return (
    <Dialog title={title} onClose={onClose}>
      {children}
      <Problem error={error} />
      <div class="actions">
        <Button onClick={onClose}>Keep</Button>
        <Button kind="danger" busy={busy} onClick={onConfirm}>
          {action}
        </Button>
      </div>
    </Dialog>
  )
}

/** A share of 0 to 1 as a bar. Its number stands next to it as text. */
export function Bar({ share, tone = 'accent' }: { readonly share: number; readonly tone?: string }) {
  const width = `${Math.max(0, Math.min(1, share)) * 100}%`
  return (
    <span class={`bar ${tone}`} aria-hidden="true">
      <span style={{ width }} />
    </span>
  )
}

export function Progress({ label, share }: { readonly label: string; readonly share: number }) {
  return (
    <div class="progress">
      <progress max={1} value={share} aria-label={label} />
      <span>{percent(Math.round(share * 100) / 100)}</span>
    </div>
  )
}

/** The keyboard scrolls only what has the focus. */
const scrollable = { tabIndex: 0 }

/** A table that scrolls sideways on a narrow screen, also with the keyboard. */
export function Table({ label, children }: { readonly label: string; readonly children: ComponentChildren }) {
  return (
    <section class="table" aria-label={label} {...scrollable}>
      <table>{children}</table>
    </section>
  )
}

/** The heading of a column of buttons, for screen readers. */
export const ActionsHeading = () => (
  <th scope="col">
    <span class="hidden">Actions</span>
  </th>
)

/** How long ago something was. The exact time appears when the mouse is over it. */
export const Ago = ({ time }: { readonly time: string }) => (
  <time dateTime={new Date(time).toISOString()} title={when(time)}>
    {ago(time)}
  </time>
)

export const More = ({ more, loading }: { readonly more: (() => void) | undefined; readonly loading: boolean }) =>
  more || loading ? (
    <p class="more">
      <Button onClick={() => more?.()} busy={loading} disabled={!more}>
        {loading ? 'Loading…' : 'Show more'}
      </Button>
    </p>
  ) : null

export interface Fact {
  readonly name: string
  readonly value: ComponentChildren
}

export const Facts = ({ facts }: { readonly facts: readonly Fact[] }) => (
  <dl class="facts">
    {facts.map(({ name, value }) => (
      <div key={name}>
        <dt>{name}</dt>
        <dd>{value}</dd>
      </div>
    ))}
  </dl>
)
