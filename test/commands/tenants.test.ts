import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { keyClient, startRunning, upload } from '../http/running.js'
import { temporaryDirectory } from '../material.js'
import { cli } from '../server-process.js'
import { anyVersion, newTenant, openStore } from '../tenants/material.js'

/** Runs `propetl tenants …`. */
async function propetl(dataDir: string, ...args: string[]) {
  const environment = { ...process.env, PROPETL_DATA_DIR: dataDir }
  const child = spawn(process.execPath, [cli, 'tenants', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: environment,
  })
  const [out, error] = [[], []] as [string[], string[]]
  child.stdout.on('data', (piece) => out.push(String(piece)))
  child.stderr.on('data', (piece) => error.push(String(piece)))
  const [code] = await once(child, 'close')
  return { code, out: out.join('').trim(), error: error.join('') }
}

describe('propetl tenants', () => {
  test('manages the data directory of a running server, which applies each change to the next request', async () => {
    const dataDir = await temporaryDirectory()
    const { app } = await startRunning({ dataDir })
    const run = (...args: string[]) => propetl(dataDir, ...args)
    assert.equal((await app.inject('/tasks')).statusCode, 200)

    const operator = keyClient(app, (await run('create-key', 'operator')).out)
    assert.equal((await app.inject('/tasks')).statusCode, 401)
    assert.equal((await operator('GET', '/tenants')).statusCode, 200)

    assert.equal((await run('set', 'acme', '--tasks', '1', '--share', '3')).code, 0)
    const made = await run('create-key', 'acme', '--expires', '90d', '--description', 'web shop', '--json')
    const { id, key, expires } = JSON.parse(made.out) as { id: string; key: string; expires: string }
    assert.ok(Math.abs(Date.parse(expires) - Date.now() - 90 * 86_400_000) < 600_000)
    const acme = { authorization: `Bearer ${key}` }
    assert.equal((await upload(app, 'one', undefined, acme)).statusCode, 201)
    assert.equal((await upload(app, 'two', undefined, acme)).statusCode, 403)
    // Limits that are not given do not change.
    await run('set', 'acme', '--tasks', 'none', '--tokens-per-second', '9000')
    assert.equal((await upload(app, 'two', undefined, acme)).statusCode, 201)
    const { limits, share } = (await operator('GET', '/tenants/acme')).json<{ limits: object; share: number }>()
    assert.deepEqual(limits, {
      tasks: null,
      bytes: null,
      examples: null,
      requests_per_second: null,
      tokens_per_second: 9000,
    })
    assert.equal(share, 3)
    assert.match((await run('list')).out, /^id +tasks .*\nacme +2 /)
    assert.match((await run('keys', 'acme')).out, new RegExp(`\\nacme +${id} .*web shop$`))

    const revoked = await run('revoke-key', 'acme', id)
    assert.equal((await app.inject({ url: '/tasks', headers: acme })).statusCode, 401)
    const audit = JSON.parse(revoked.error) as Record<string, unknown>
    assert.deepEqual([audit.audit, audit.action, audit.tenant, audit.object], [true, 'key.revoke', 'acme', id])
    assert.match(String(audit.actor), /^terminal\/.+/)

    const removed = await run('remove', 'acme')
    assert.equal(removed.out, 'removed tenant acme with its keys and 2 tasks')
    const steps = removed.error
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    assert.deepEqual(
      steps.map(({ action, tenant }) => [action, tenant]),
      [
        ['tenant.close', 'acme'],
        ['tenant.delete', 'acme'],
      ],
    )
    assert.match(String(steps[0]?.actor), /^terminal\/.+/)
    assert.ok(steps[0]?.incarnation === steps[1]?.incarnation && steps[0]?.incarnation !== undefined)
    assert.equal((await operator('GET', '/tenants/acme')).statusCode, 404)
  })

  test('completes a removal that was interrupted', async () => {
    const dataDir = await temporaryDirectory()
    const { store, tasks, tenants } = await openStore(dataDir)
    await tasks.put(await newTenant(tenants, 'acme'), 'mine', 'd', Buffer.alloc(3), anyVersion)
    await tenants.close('acme')
    await store.close()
    const { code, out } = await propetl(dataDir, 'remove', 'acme')
    assert.deepEqual([code, out], [0, 'removed tenant acme with its keys and 1 tasks'])
    assert.match((await propetl(dataDir, 'remove', 'acme')).error, /^propetl: there is no tenant "acme"$/m)
    assert.equal((await propetl(dataDir, 'set', 'acme')).code, 0)
  })

  test('says what is wrong, and exits with code 1, or 2 for a wrong command line', async () => {
    const dataDir = await temporaryDirectory()
    for (const [args, exit, message] of [
      [['create-key', 'nobody'], 1, /^propetl: there is no tenant "nobody"$/m],
      [['set', 'No_Tenant'], 1, /^propetl: "No_Tenant" is not a tenant id; expected/m],
      [['set', 'acme', '--tasks', 'many'], 2, /--tasks <number>' argument 'many' is invalid. Expected a whole number/],
      [['create-key', 'operator', '--expires', 'soon'], 2, /Expected days like 90d/],
    ] as const) {
      const { code, out, error } = await propetl(dataDir, ...args)
      assert.deepEqual([code, out], [exit, ''])
      assert.match(error, message)
    }
  })
})
