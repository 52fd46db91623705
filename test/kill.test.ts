// Kills a server at random moments while tasks are uploaded, replaced, rolled back and removed over HTTP.
// PROPETL_TEST_KILLS sets the number of kills; 300 take about ten minutes.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { digestOf } from '../src/formats/digest.js'
import { shiftedTask, taskBytes, temporaryDirectory } from './material.js'
import { predict, predictionOf, put, serve } from './server-process.js'

const kills = Number(process.env.PROPETL_TEST_KILLS ?? 3)
const writers = 4
const idsOfWriter = 5
/** Versions of a task that are kept. */
const kept = 3

/** The possible versions of each task: the last acknowledged one, and one that was requested without a response. */
type Possible = Map<string, ReadonlySet<string | undefined>>

const files = Array.from({ length: 40 }, (_, shift) => shiftedTask(taskBytes('sst2'), shift))
const digests = files.map((file) => digestOf(file))
const random = (below: number) => Math.floor(Math.random() * below)

test(`has every change that it acknowledged, and no partial change, after ${kills} kills at random moments`, async (t) => {
  const dataDir = await temporaryDirectory()
  const possible: Possible = new Map()
  for (let w = 0; w < writers; w++)
    for (let i = 0; i < idsOfWriter; i++) possible.set(`w${w}-${i}`, new Set([undefined]))
  const startsMs: number[] = []
  let acknowledged = 0
  for (let kill = 0; kill <= kills; kill++) {
    const before = performance.now()
    const { url, process: child, exit } = await serve(dataDir, '--versions', String(kept))
    startsMs.push(performance.now() - before)
    await check(url, possible)
    if (kill === kills) {
      child.kill('SIGTERM')
      assert.deepEqual(await exit, [0, null])
      break
    }
    const writing = Array.from({ length: writers }, async (_, writer) => {
      for (;;) {
        const done = await change(url, `w${writer}-${random(idsOfWriter)}`, possible)
        if (!done) return
        acknowledged++
      }
    })
    await delay(50 + random(400))
    child.kill('SIGKILL')
    await Promise.all([exit, ...writing])
  }
  assert.ok(acknowledged >= kills)
  const [median, maximum] = [0.5, 1].map((share) => startsMs.toSorted((a, b) => a - b)[Math.ceil(share * kills)])
  t.diagnostic(`${acknowledged} changes acknowledged; start to ready: ${median} ms (median), ${maximum} ms (maximum)`)
})

/** @returns false if the server was killed before it responded */
async function change(url: string, id: string, possible: Possible): Promise<boolean> {
  const [current] = possible.get(id) ?? []
  try {
    const { wanted, send } = await randomChange(url, id, current)
    possible.set(id, new Set([current, wanted]))
    const response = await send()
    await response.arrayBuffer()
    assert.equal(response.status, wanted === undefined ? 204 : current === undefined ? 201 : 200)
    possible.set(id, new Set([wanted]))
    return true
  } catch (error) {
    if (error instanceof TypeError) return false
    throw error
  }
}

/** An upload, a removal, or the activation of a version, and the version of the task after it. */
async function randomChange(url: string, id: string, current: string | undefined) {
  const kind = current === undefined ? 'put' : (['put', 'put', 'activate', 'delete'] as const)[random(4)]
  if (kind === 'delete') return { wanted: undefined, send: () => fetch(`${url}/tasks/${id}`, { method: 'DELETE' }) }
  if (kind === 'activate') {
    const { versions } = await versionsOf(url, id)
    const { version, digest } = versions[random(versions.length)] ?? assert.fail('a task has no versions')
    return { wanted: digest, send: () => activate(url, id, version) }
  }
  const version = random(files.length)
  return { wanted: digests[version], send: () => put(url, id, files[version] ?? assert.fail()) }
}

const activate = (url: string, id: string, version: number) =>
  fetch(`${url}/tasks/${id}/active`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ version }),
  })

const versionsOf = async (url: string, id: string) =>
  (await (await fetch(`${url}/tasks/${id}/versions`)).json()) as {
    readonly active: number
    readonly versions: readonly { readonly version: number; readonly digest: string; readonly bytes: number }[]
  }

/**
 * Checks that every task has a possible version, is complete with all its versions, and predicts. Afterwards only that version is possible.
 */
async function check(url: string, possible: Possible): Promise<void> {
  for (const [id, allowed] of possible) {
    const response = await fetch(`${url}/tasks/${id}/file`)
    const bytes = new Uint8Array(await response.arrayBuffer())
    const digest = response.status === 404 ? undefined : digestOf(bytes)
    assert.ok(allowed.has(digest), `${id} is at ${digest}, and may be at ${[...allowed].join(' or ')}`)
    if (digest !== undefined) {
      assert.equal(response.headers.get('etag'), `"${digest}"`)
      await checkVersions(url, id, digest)
    }
    possible.set(id, new Set([digest]))
  }
  const [id, digest] = [...possible].map(([id, [digest]]) => [id, digest] as const).find(([, digest]) => digest) ?? []
  if (id !== undefined) assert.equal((await predictionOf(await predict(url, id))).version, digest)
}

/** Checks that the task has the file of each of its versions, and that they are as many as are kept. */
async function checkVersions(url: string, id: string, digest: string): Promise<void> {
  const { active, versions } = await versionsOf(url, id)
  assert.ok(versions.length <= kept, `${id} has ${versions.length} versions`)
  assert.equal(versions.find(({ version }) => version === active)?.digest, digest)
  for (const { version, digest, bytes } of versions) {
    const file = new Uint8Array(await (await fetch(`${url}/tasks/${id}/file?version=${version}`)).arrayBuffer())
    assert.deepEqual([digestOf(file), file.byteLength], [digest, bytes])
  }
}
