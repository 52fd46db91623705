// The frame of all pages: who is signed in, the navigation, and the page of the current address.

import { useEffect, useRef } from 'preact/hooks'
import { useLoaded } from './api/query.js'
import { currentKey, type Role, setRole, signOut, useRole } from './api/session.js'
import { HealthPage } from './pages/health.js'
import { JobsPage } from './pages/jobs.js'
import { SignIn } from './pages/sign-in.js'
import { TaskPage } from './pages/task.js'
import { TasksPage } from './pages/tasks.js'
import { TenantPage } from './pages/tenant.js'
import { TenantsPage } from './pages/tenants.js'
import { link, type Route, useRoute } from './route.js'
import { Button, Empty, Loading, Problem } from './ui/parts.js'
import { roleOf } from './who.js'

export function App() {
  const role = useRole()
  const route = useRoute()
  const main = useRef<HTMLElement>(null)
  const { parts } = route
  const page = parts.join('/')
  const first = useRef(true)

  useEffect(() => {
    document.title = [...parts].reverse().concat('propetl').join(' · ') || 'propetl'
    // A screen reader reads the new page. The browser has done this for the first one.
    if (!first.current) main.current?.focus()
    first.current = false
  }, [page])

  const shown = role === 'open' || role === 'operator' || role === 'tenant'
  return (
    <>
      <button type="button" class="skip button" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <header class="top">
        <div class="bar-inner">
          <a class="brand" href={link(['tasks'])}>
            <Mark /> propetl
          </a>
          {shown && <Navigation role={role} current={parts[0] ?? 'tasks'} />}
          <div class="who">
            {role === 'operator' && <span class="fine">operator</span>}
            {role === 'tenant' && <span class="fine">tenant</span>}
            {(role === 'operator' || role === 'tenant') && (
              <Button kind="quiet" onClick={signOut}>
                Sign out
              </Button>
            )}
          </div>
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        {role === 'unknown' && <Start />}
        {role === 'signed-out' && <SignIn />}
        {shown && <Page route={route} role={role} />}
      </main>
    </>
  )
}

/** Finds out whether the server needs a key, and whose the key of this tab is. */
function Start() {
  const { error, reload } = useLoaded('start', async (signal) => {
    setRole(await roleOf(currentKey(), signal))
    return true
  })
  useEffect(() => {
    if (error?.code !== 'not_ready') return
    const timer = setTimeout(reload, 1000)
    return () => clearTimeout(timer)
  }, [error, reload])
  if (error?.code === 'not_ready') return <Loading what="the model" />
  return error ? <Problem error={error} onRetry={reload} /> : <Loading what="the console" />
}

function Navigation({ role, current }: { readonly role: Role; readonly current: string }) {
  const pages = ['tasks', 'jobs', 'health', ...(role === 'operator' ? ['tenants'] : [])]
  return (
    <nav aria-label="Pages">
      {pages.map((name) => (
        <a key={name} href={link([name])} {...(name === current && { 'aria-current': 'page' as const })}>
          {name.charAt(0).toUpperCase() + name.slice(1)}
        </a>
      ))}
      <a href="./docs" class="external">
        API
      </a>
    </nav>
  )
}

function Page({ route, role }: { readonly route: Route; readonly role: Role }) {
  const [kind = 'tasks', id, tab] = route.parts
  if (kind === 'tasks') {
    if (id === undefined) return <TasksPage />
    return <TaskPage key={id} id={id} tab={tab ?? 'try'} query={route.query} />
  }
  if (kind === 'jobs') return <JobsPage />
  if (kind === 'health') return <HealthPage role={role} />
  if (kind === 'tenants' && role === 'operator') {
    return id === undefined ? <TenantsPage /> : <TenantPage key={id} id={id} />
  }
  return (
    <Empty title="There is no such page">
      <p>
        <a href={link(['tasks'])}>Go to the tasks</a>
      </p>
    </Empty>
  )
}

const Mark = () => (
  <svg viewBox="0 0 16 16" width="22" height="22" aria-hidden="true">
    <rect width="16" height="16" rx="4" fill="var(--accent)" />
    <path d="M5.2 13V3.6h3.2a2.8 2.8 0 0 1 0 5.6H5.2" fill="none" stroke="var(--on-accent)" stroke-width="1.9" />
  </svg>
)
