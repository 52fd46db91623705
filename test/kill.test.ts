// Kills a server at random moments while tasks are uploaded, replaced and removed over HTTP. PROPETL_TEST_KILLS sets
// the number of kills; 300 take about ten minutes.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { digestOf } from '../src/formats/digest.js'
import { shiftedTask, taskBytes, temporaryDirectory } from './material.js'
import { predict, predictionOf, put, serve } from './server-process.js'

const kills = Number(process.env.PROPETL_TEST_KILLS ?? 3)
const writers = 4
const idsOfWriter = 5

/** The possible versions of each task: the last acknowledged one, and one that was requested without a response. */
type Possible = Map<string, ReadonlySet<string | undefined>>

const versions = Array.from({ length: 40 }, (_, shift) => shiftedTask(taskBytes('sst2'), shift))
const digests = versions.map((file) => digestOf(file))
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
    const { url, process: child, exit } = await serve(dataDir)
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
  const version = current !== undefined && random(4) === 0 ? undefined : random(versions.length)
  const wanted = version === undefined ? undefined : digests[version]
  possible.set(id, new Set([current, wanted]))
  let status: number
  try {
    const file = version === undefined ? undefined : versions[version]
    const response = file ? await put(url, id, file) : await fetch(`${url}/tasks/${id}`, { method: 'DELETE' })
    status = response.status
    await response.arrayBuffer()
  } catch {
    return false
  }
  assert.equal(status, version === undefined ? 204 : current === undefined ? 201 : 200)
  possible.set(id, new Set([wanted]))
  return true
}

/**
 * Checks that every task has a possible version, is complete and predicts. Afterwards only that version is possible.
 */
async function check(url: string, possible: Possible): Promise<void> {
  for (const [id, allowed] of possible) {
    const response = await fetch(`${url}/tasks/${id}/file`)
    const bytes = new Uint8Array(await response.arrayBuffer())
    const digest = response.status === 404 ? undefined : digestOf(bytes)
    assert.ok(allowed.has(digest), `${id} is at ${digest}, and may be at ${[...allowed].join(' or ')}`)
    if (digest !== undefined) assert.equal(response.headers.get('etag'), `"${digest}"`)
    possible.set(id, new Set([digest]))
  }
  const [id, digest] = [...possible].map(([id, [digest]]) => [id, digest] as const).find(([, digest]) => digest) ?? []
  if (id !== undefined) assert.equal((await predictionOf(await predict(url, id))).version, digest)
}
