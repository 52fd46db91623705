// One replica has a slow, dead or frozen link, or is paused. Changes at the other replica must continue.

import { setTimeout as delay } from 'node:timers/promises'
import type { TcpProxy } from '../../test/tcp-proxy.js'
import { quantile } from '../support/figures.js'
import { atMost, type Fault, type Finding, none, unless } from './fault.js'
import { describeResponse, type ServerUnderTest } from './server.js'
import { largeFile, version } from './task-files.js'
import type { Database, Testbed } from './testbed.js'
import { timeUntil } from './waiting.js'

const latencyMs = 1_000
const intervalMs = 200

interface Replicas {
  readonly database: Database
  /** The link between `far` and the database. */
  readonly proxy: TcpProxy
  readonly far: ServerUnderTest
  readonly near: ServerUnderTest
}

async function twoReplicas(testbed: Testbed): Promise<Replicas> {
  const database = await testbed.database()
  const proxy = await testbed.proxy(database)
  const [far, near] = await Promise.all([testbed.replica(database.urlThrough(proxy)), testbed.replica(database.url)])
  for (const [index, replica] of [far, near].entries()) {
    const { status } = await replica.put(`warm-${index}`, version(0))
    if (status !== 201) throw new Error(`a change without a fault returned ${status}`)
  }
  return { database, proxy, far, near }
}

/** Makes changes at a replica, one after another, until a promise resolves. */
async function changesAt(replica: ServerUnderTest, until: Promise<unknown>): Promise<Finding[]> {
  let isOver = false
  void until.then(() => {
    isOver = true
  })
  const rejected: string[] = []
  const latencies: number[] = []
  for (let count = 0; !isOver; count++) {
    const response = await replica.put(`change-${count}`, version(count))
    latencies.push(response.ms)
    if (response.status !== 201) rejected.push(describeResponse(response))
    await delay(intervalMs)
  }
  return [
    none('changes that the other replica did not accept', rejected, { changes: latencies.length }),
    atMost('p99 latency of changes at the other replica', 'ms', quantile(latencies, 0.99), latencyMs),
  ]
}

const expected = `the other replica accepts all changes, with a p99 latency of at most ${latencyMs} ms`

const slowLink: Fault = {
  name: 'slow-link',
  cause: 'one replica uploads 12 MB over a link of 0.5 MB/s',
  expected,
  needs: ['postgres'],
  async run(testbed) {
    const { proxy, far, near } = await twoReplicas(testbed)
    proxy.limit({ toTarget: 500_000, toClient: 500_000 })
    const upload = far.put('large', largeFile(), { timeoutMs: 120_000 })
    const findings = await changesAt(near, upload)
    const response = await upload
    const ms = await timeUntil(async () => (await near.digest('large')) !== undefined, 5_000)
    const isStored = ms !== undefined
    const isCorrect = response.status === 201 ? isStored : response.code === 'outcome_unknown' || !isStored
    const notes = { upload: `${describeResponse(response)} after ${(response.ms / 1000).toFixed(1)} s` }
    return [...findings, none('wrong responses to the upload', unless(isCorrect, describeResponse(response)), notes)]
  },
}

const deadLink: Fault = {
  name: 'dead-link',
  cause: 'the machine of a replica loses power while it sends a change of 12 MB',
  expected,
  needs: ['postgres'],
  async run(testbed) {
    const { proxy, far, near } = await twoReplicas(testbed)
    proxy.loseAfter(3_000_000)
    void far.put('large', largeFile(), { timeoutMs: 60_000 })
    await delay(1_000)
    return changesAt(near, delay(15_000))
  },
}

const pausedReplica: Fault = {
  name: 'paused-replica',
  cause: 'a replica is stopped for 12 s (SIGSTOP) while it sends a change of 12 MB',
  expected: `${expected}; the paused replica accepts changes again when it continues`,
  needs: ['postgres'],
  async run(testbed) {
    const { proxy, far, near } = await twoReplicas(testbed)
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

/** The time until a replica accepts a change. */
async function timeToChange(replica: ServerUnderTest, most: number): Promise<Finding> {
  const ms = await timeUntil(async () => (await replica.put('again', version(1))).status < 300, 3 * most, 100)
  return atMost('time until the replica accepts changes again', 'ms', ms ?? 3 * most, most)
}

const frozenLink: Fault = {
  name: 'frozen-link',
  cause: 'the link of a replica is frozen for 10 s, with three changes in progress',
  expected: `${expected}; the three responses are correct; the replica recovers`,
  needs: ['postgres'],
  async run(testbed) {
    const { proxy, far, near } = await twoReplicas(testbed)
    proxy.freeze()
    const ids = ['frozen-0', 'frozen-1', 'frozen-2']
    const uploads = Promise.all(ids.map((id, index) => far.put(id, version(index), { timeoutMs: 60_000 })))
    const findings = await changesAt(near, delay(10_000))
    proxy.limit({})
    const recovery = await timeToChange(far, 5_000)
    const responses = await uploads
    await delay(1_000)
    const wrong: string[] = []
    for (const [index, response] of responses.entries()) {
      const id = ids[index] ?? ''
      const isStored = (await near.digest(id)) !== undefined
      const isCorrect = response.code === 'outcome_unknown' || response.status < 300 === isStored
      if (!isCorrect) wrong.push(`${id} is ${isStored ? 'stored' : 'not stored'}: ${describeResponse(response)}`)
    }
    return [...findings, recovery, none('wrong responses to the three changes', wrong)]
  },
}

const revocation: Fault = {
  name: 'revocation-during-upload',
  cause: 'a key is revoked at a replica that uploads 12 MB over a link of 0.5 MB/s',
  expected: 'the key is revoked at all replicas within 5 s',
  needs: ['postgres'],
  async run(testbed) {
    const { proxy, far, near } = await twoReplicas(testbed)
    await far.request('PUT', '/tenants/acme', { body: {} })
    const created = await far.request('POST', '/tenants/acme/keys', { body: {} })
    const { id, key } = JSON.parse(created.body.toString()) as { id: string; key: string }
    await timeUntil(async () => (await near.request('GET', '/tasks', { key })).status === 200, 5_000)
    proxy.limit({ toTarget: 500_000, toClient: 500_000 })
    void far.put('large', largeFile(), { timeoutMs: 120_000 })
    await delay(2_000)
    const start = performance.now()
    const response = await far.request('DELETE', `/tenants/acme/keys/${id}`, { timeoutMs: 20_000 })
    await timeUntil(async () => (await near.request('GET', '/tasks', { key })).status === 401, 20_000)
    return [
      none('rejected revocations', unless(response.status === 204, describeResponse(response))),
      atMost('time until the other replica rejects the key', 'ms', performance.now() - start, 5_000),
    ]
  },
}

export const replicaFaults: readonly Fault[] = [slowLink, deadLink, pausedReplica, frozenLink, revocation]
