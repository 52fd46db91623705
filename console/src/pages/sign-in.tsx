// Asks for the API key where the server needs one.

import { useState } from 'preact/hooks'
import { useAction } from '../api/query.js'
import { keepKey, setRole } from '../api/session.js'
import { Button, Field, Problem } from '../ui/parts.js'
import { roleOf } from '../who.js'

export function SignIn() {
  const [key, setKey] = useState('')
  const { busy, error, run } = useAction()
  const signIn = (event: Event) => {
    event.preventDefault()
    void run(async () => {
      const role = await roleOf(key.trim())
      keepKey(key.trim())
      setRole(role)
    })
  }
  return (
    <form class="card sign-in" onSubmit={signIn}>
      <h1>Sign in</h1>
      <p class="soft">This server needs an API key. It stays in this browser tab and is gone when you close it.</p>
      <Field label="API key" hint="The operator of the server gives out keys.">
        {(props) => (
          <input
            {...props}
            type="password"
            autocomplete="off"
            spellcheck={false}
            required
            value={key}
            onInput={({ currentTarget }) => setKey(currentTarget.value)}
          />
        )}
      </Field>
      <Problem error={error} />
      <div class="actions">
        <Button kind="primary" type="submit" busy={busy} disabled={key.trim() === ''}>
          Sign in
        </Button>
      </div>
    </form>
  )
}
