// One replica whose link is slow, dead or frozen, or that is paused: changes at the others must go on.

import { setTimeout as delay } from 'node:timers/promises'
import type { TcpProxy } from '../../test/tcp-proxy.js'
import { quantile } from '../support/figures.js'
import { atMost, type Fault, type Finding, none, unless } from './fault.js'
import { type ServerUnderTest, told } from './server.js'
import type { Database, Stage } from './stage.js'
import { largeFile, version } from './task-files.js'
import { timeUntil } from './waiting.js'

const promptMs = 1_000
const everyMs = 200

interface Replicas {
  readonly database: Database
  /** The link of `far`. */
  readonly proxy: TcpProxy
  readonly far: ServerUnderTest
  readonly near: ServerUnderTest
}

async function twoReplicas(stage: Stage): Promise<Replicas> {
  const database = await stage.database()
  const proxy = await stage.proxy(database)
  const [far, near] = await Promise.all([stage.replica(database.urlThrough(proxy)), stage.replica(database.url)])
  for (const [index, replica] of [far, near].entries()) {
    const { status } = await replica.put(`warm-${index}`, version(0))
    if (status !== 201) throw new Error(`a change without a fault is answered ${status}`)
  }
  return { database, proxy, far, near }
}

/** Makes changes at a replica, one after another, until something else is done. */
async function changesAt(replica: ServerUnderTest, until: Promise<unknown>): Promise<Finding[]> {
  let isOver = false
  void until.then(() => {
    isOver = true
  })
  const refused: string[] = []
  const latencies: number[] = []
  for (let count = 0; !isOver; count++) {
    const answer = await replica.put(`beside-${count}`, version(count))
    latencies.push(answer.ms)
    if (answer.status !== 201) refused.push(told(answer))
    await delay(everyMs)
  }
  return [
    none('changes at the other replica that were not accepted', refused, { changes: latencies.length }),
    atMost('changes at the other replica, p99', 'ms', quantile(latencies, 0.99), promptMs),
  ]
}

const must = `all changes at the other replica are accepted, p99 at most ${promptMs} ms`

const slowLink: Fault = {
  name: 'slow-link',
  does: 'one replica uploads 12 MB over a link of 0.5 MB/s',
  must,
  needs: ['postgres'],
  async run(stage) {
    const { proxy, far, near } = await twoReplicas(stage)
    proxy.limit({ toTarget: 500_000, toClient: 500_000 })
    const upload = far.put('large', largeFile(), { timeoutMs: 120_000 })
    const findings = await changesAt(near, upload)
    const answer = await upload
    const seen = await timeUntil(async () => (await near.digest('large')) !== undefined, 5_000)
    const uploaded = { upload: `${told(answer)} after ${(answer.ms / 1000).toFixed(1)} s` }
    const isTrue = answer.status === 201 ? seen !== undefined : answer.code === 'outcome_unknown' || seen === undefined
    return [...findings, none('wrong answers to the upload', unless(isTrue, told(answer)), uploaded)]
  },
}

const deadLink: Fault = {
  name: 'dead-link',
  does: "a replica's machine loses its power while it sends a change of 12 MB",
  must,
  needs: ['postgres'],
  async run(stage) {
    const { proxy, far, near } = await twoReplicas(stage)
    proxy.loseAfter(3_000_000)
    void far.put('large', largeFile(), { timeoutMs: 60_000 })
    await delay(1_000)
    return changesAt(near, delay(15_000))
  },
}

const pausedReplica: Fault = {
  name: 'paused-replica',
  does: 'a replica is stopped for 12 s (SIGSTOP) while it sends a change of 12 MB',
  must: `${must}; it takes changes again once it goes on`,
  needs: ['postgres'],
  async run(stage) {
    const { proxy, far, near } = await twoReplicas(stage)
    proxy.limit({ toTarget: 3_000_000 })
    void far.put('large', largeFile(), { timeoutMs: 60_000 })
    await delay(1_500)
    far.signal('SIGSTOP')
    const findings = await changesAt(near, delay(12_000))
    far.signal('SIGCONT')
    proxy.limit({})
    return [...findings, await timeToChange(far, 10_000)]
  },
}

/** Until a replica takes a change. */
async function timeToChange(replica: ServerUnderTest, most: number): Promise<Finding> {
  const ms = await timeUntil(async () => (await replica.put('again', version(1))).status < 300, 3 * most, 100)
  return atMost('until the replica takes changes again', 'ms', ms ?? 3 * most, most)
}

const frozenLink: Fault = {
  name: 'frozen-link',
  does: 'the link of a replica is frozen for 10 s, with three changes under way',
  must: `${must}; the three answers are right; the replica comes back`,
  needs: ['postgres'],
  async run(stage) {
    const { proxy, far, near } = await twoReplicas(stage)
    proxy.freeze()
    const ids = ['frozen-0', 'frozen-1', 'frozen-2']
    const uploads = Promise.all(ids.map((id, index) => far.put(id, version(index), { timeoutMs: 60_000 })))
    const findings = await changesAt(near, delay(10_000))
    proxy.limit({})
    const back = await timeToChange(far, 5_000)
    const answers = await uploads
    await delay(1_000)
    const wrong: string[] = []
    for (const [index, answer] of answers.entries()) {
      const id = ids[index] ?? ''
      const isThere = (await near.digest(id)) !== undefined
      const isTrue = answer.code === 'outcome_unknown' || answer.status < 300 === isThere
      if (!isTrue) wrong.push(`${id} is ${isThere ? 'there' : 'absent'}: ${told(answer)}`)
    }
    return [...findings, back, none('wrong answers to the three changes', wrong)]
  },
}

/** While an upload fills the link of a replica. */
const revocation: Fault = {
  name: 'revocation-beside-upload',
  does: 'a key is revoked at a replica that uploads 12 MB over a link of 0.5 MB/s',
  must: 'it is revoked everywhere within 5 s',
  needs: ['postgres'],
  async run(stage) {
    const { proxy, far, near } = await twoReplicas(stage)
    await far.ask('PUT', '/tenants/acme', { body: {} })
    const created = await far.ask('POST', '/tenants/acme/keys', { body: {} })
    const { id, key } = JSON.parse(created.body.toString()) as { id: string; key: string }
    await timeUntil(async () => (await near.ask('GET', '/tasks', { key })).status === 200, 5_000)
    proxy.limit({ toTarget: 500_000, toClient: 500_000 })
    void far.put('large', largeFile(), { timeoutMs: 120_000 })
    await delay(2_000)
    const start = performance.now()
    const answer = await far.ask('DELETE', `/tenants/acme/keys/${id}`, { timeoutMs: 20_000 })
    await timeUntil(async () => (await near.ask('GET', '/tasks', { key })).status === 401, 20_000)
    return [
      none('refused revocations', unless(answer.status === 204, told(answer))),
      atMost('until the key is refused at the other replica', 'ms', performance.now() - start, 5_000),
    ]
  },
}

export const replicaFaults: readonly Fault[] = [slowLink, deadLink, pausedReplica, frozenLink, revocation]
