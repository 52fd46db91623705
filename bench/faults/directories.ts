// The data directory is removed, replaced, damaged or not writable; and commands run while a server runs.

import { execFileSync } from 'node:child_process'
import { copyFileSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { many } from '../attacks/attack.js'
import { flipBits } from './damage.js'
import { atMost, type Fault, type Finding, none, unless } from './fault.js'
import { Ledger } from './ledger.js'
import { command, describeResponse, type ServerUnderTest } from './server.js'
import { version } from './task-files.js'
import type { Testbed } from './testbed.js'
import { timeUntil } from './waiting.js'

const unreadyMs = 1_200
const stopMs = 4_000
const flags = ['--shutdown-timeout-ms', '3000']

/** A server with tasks, and a backup from before the last upload. */
async function prepared(testbed: Testbed, tasks = 4) {
  const dataDir = await testbed.directory()
  const server = await testbed.server({ dataDir, flags })
  const database = join(dataDir, 'tasks.lmdb')
  for (let id = 0; id < tasks; id++) await server.put(`t${id}`, version(id))
  const copy = join(await testbed.directory(), 'backup')
  const { end, output } = await command(['backup', copy, '--data-dir', dataDir])
  if (end !== 'exit code 0') throw new Error(`the backup exited with ${end}: ${output}`)
  await server.put('last', version(9))
  return { dataDir, database, copy, server }
}

/** The database file is replaced while the server has the old one open. */
const replaced = (
  name: string,
  cause: string,
  replace: (setup: Awaited<ReturnType<typeof prepared>>) => unknown,
): Fault => ({
  name,
  cause,
  expected: 'the server acknowledges no more changes, is not ready within 1.2 s, and logs the reason',
  async run(testbed) {
    // One server receives a change at once. The idle one must detect the fault by itself.
    const [active, idle] = await Promise.all([prepared(testbed), prepared(testbed)])
    await replace(active)
    const changes = [await active.server.put('at-once', version(5), { timeoutMs: 5_000 })]
    await replace(idle)
    const isUnready = async () => (await idle.server.request('GET', '/health/ready')).status === 503
    const ms = await timeUntil(isUnready, 10_000, 20)
    for (const { server } of [active, idle]) changes.push(await server.put('later', version(6), { timeoutMs: 5_000 }))
    const isReported = idle.server.output
      .split('\n')
      .some((line) => /"level":[456]0/.test(line) && /tasks\.lmdb|directory/.test(line))
    idle.server.signal('SIGTERM')
    return [
      none(
        'changes acknowledged after the file was replaced',
        changes.filter(({ status }) => status < 300).map(describeResponse),
      ),
      atMost('time until /health/ready returns 503', 'ms', ms ?? 10_000, unreadyMs),
      none('reasons missing from the log', unless(isReported, 'no log line names the directory')),
      atMost('time from SIGTERM to the exit', 'ms', await idle.server.timeToEnd(20_000), stopMs),
    ]
  },
})

const overwritten: Fault = {
  name: 'database-overwritten',
  cause: 'a backup is copied over the file that the server has mapped',
  expected: 'the process exits by a signal or rejects changes; it does not hang, and the next start serves',
  async run(testbed) {
    const { dataDir, database, copy, server } = await prepared(testbed)
    copyFileSync(copy, database)
    await delay(500)
    const requests = [
      server.request('GET', '/tasks/t3/file'),
      server.request('GET', '/tasks?limit=100'),
      server.put('e', version(7)),
    ]
    const responses = await Promise.all(requests)
    const hangs = await hangOf(server)
    await server.kill()
    const again = await testbed.server({ dataDir })
    const lost = responses[2]?.status === 201 ? unless((await again.digest('e')) !== undefined, 'e is missing') : []
    return [none('hangs', hangs), none('lost acknowledged changes', lost)]
  },
}

/** Lists whether a server does not respond, or does not exit on SIGTERM. */
async function hangOf(server: ServerUnderTest): Promise<string[]> {
  if (server.isEnded) return []
  const { status } = await server.request('GET', '/health/live', { timeoutMs: 3_000 })
  server.signal('SIGTERM')
  await server.timeToEnd(stopMs)
  return [
    ...unless(status === 200 || server.isEnded, 'it does not respond'),
    ...unless(server.isEnded, 'SIGTERM has no effect'),
  ]
}

const flipSeeds = [1, 2, 3, 4, 5, 6, 7, 8]

/** Enough tasks for an index of several pages. */
const flippedTasks = 60

const flipped: Fault = {
  name: 'database-flipped',
  cause: `bits of tasks.lmdb of a stopped server are flipped, ${flipSeeds.length} times`,
  expected: 'the next server fails to start, exits or responds; it does not hang',
  async run(testbed) {
    const { database, server } = await prepared(testbed, flippedTasks)
    await server.stop()
    const hangs: string[] = []
    const exits: string[] = []
    for (const seed of flipSeeds) {
      const dataDir = await testbed.directory()
      copyFileSync(database, join(dataDir, 'tasks.lmdb'))
      flipBits(join(dataDir, 'tasks.lmdb'), seed, 8)
      const damaged = testbed.launch({ dataDir, flags })
      await timeUntil(() => damaged.isReady || damaged.isEnded, 20_000)
      if (damaged.isReady) {
        const paths = ['/tasks?limit=100', ...many(flippedTasks / 5, (id) => `/tasks/t${5 * id}/file`), '/tenants']
        for (const path of paths) if (!damaged.isEnded) await damaged.request('GET', path, { timeoutMs: 3_000 })
        if (!damaged.isEnded) await damaged.put('new', version(0), { timeoutMs: 3_000 })
        await delay(300)
      }
      exits.push(damaged.end)
      hangs.push(...(await hangOf(damaged)).map((what) => `seed ${seed}: ${what}`))
    }
    return [none('hangs', hangs, { exits: exits.join(', ') })]
  },
}

const readOnly: Fault = {
  name: 'directory-read-only',
  cause: 'the file system is read-only when the server starts',
  expected: 'the start fails with exit code 1 and that reason',
  needs: ['root'],
  async run(testbed) {
    const disk = await testbed.disk('size=8m')
    const dataDir = join(disk, 'data')
    const server = await testbed.server({ dataDir })
    await server.put('before', version(0))
    await server.stop()
    execFileSync('mount', ['-o', 'remount,ro', disk])
    return failedStart(testbed, dataDir, /read-only file system/i)
  },
}

/** Checks that a start fails with exit code 1 and a reason. */
async function failedStart(testbed: Testbed, dataDir: string, reason: RegExp): Promise<Finding[]> {
  const server = testbed.launch({ dataDir })
  await timeUntil(() => server.isEnded || server.isReady, 20_000)
  return [
    none('starts that do not fail with exit code 1', unless(server.end === 'exit code 1', server.end)),
    none('reasons missing from the last line', unless(reason.test(server.lastLine), server.lastLine)),
  ]
}

const noInodes: Fault = {
  name: 'directory-no-inodes',
  cause: 'the file system has no free inodes',
  expected: 'the start fails with exit code 1 and that reason',
  needs: ['root'],
  run: async (testbed) =>
    failedStart(testbed, join(await testbed.disk('size=8m,nr_inodes=2'), 'data'), /no space left on device/i),
}

const modes: Fault = {
  name: 'file-modes',
  cause: 'a server and a backup write files, umask 022',
  expected: 'only the owner can read them (mode 0600)',
  async run(testbed) {
    const { dataDir, copy } = await prepared(testbed)
    const files = [copy, ...readdirSync(dataDir).map((name) => join(dataDir, name))]
    const open = files.flatMap((file) => {
      const mode = (statSync(file).mode & 0o777).toString(8)
      return unless(mode === '600', `${file.split('/').at(-1)} is 0${mode}`)
    })
    return [none('files that other users can read', open)]
  },
}

const container = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc']

const namespaces: Fault = {
  name: 'pid-namespaces',
  cause: 'commands and a server in their own PID namespaces use the directory of a server in another namespace',
  expected: 'they work, or report the PID namespaces and suggest `exec`; the first server keeps working',
  needs: ['root'],
  async run(testbed) {
    const dataDir = await testbed.directory()
    const server = await testbed.server({ dataDir, wrapper: container })
    await server.put('before', version(0))
    const target = join(await testbed.directory(), 'backup')
    const wrong: string[] = []
    for (const args of [
      ['tenants', 'create-key', 'operator'],
      ['backup', target],
    ]) {
      const { end, output } = await command([...args, '--data-dir', dataDir], { wrapper: container })
      const isReported = /exec/.test(output) && /process|PID/i.test(output) && !/TypeError|\n\s+at /.test(output)
      if (end !== 'exit code 0' && !isReported) wrong.push(`${args[0]}: ${end}: ${output.slice(0, 200)}`)
    }
    const second = testbed.launch({ dataDir, wrapper: container })
    await timeUntil(() => second.isReady || second.isEnded, 30_000)
    const isReported = /exec|process id/i.test(second.complaint) && !/TypeError/.test(second.output)
    if (!second.isReady && !isReported) wrong.push(`serve: ${second.end}: ${second.complaint}`)
    const after = await server.put('after', version(1))
    return [
      none('failures without the cause', wrong),
      none('changes rejected by the first server', unless(after.status === 201, describeResponse(after))),
    ]
  },
}

/** Servers look for interrupted removals every minute. */
const removedMs = 120_000

const removal: Fault = {
  name: 'removal-interrupted',
  cause: '`propetl tenants remove` is killed halfway, while a server runs',
  expected: 'the removal is completed in the background within two minutes, and the tenant can be created again',
  needs: ['preload'],
  async run(testbed) {
    const dataDir = await testbed.directory()
    const faults = await testbed.storageFaults(join(dataDir, 'tasks.lmdb'))
    const server = await testbed.server({ dataDir })
    await server.request('PUT', '/tenants/acme', { body: {} })
    const created = await server.request('POST', '/tenants/acme/keys', { body: {} })
    const { key } = JSON.parse(created.body.toString()) as { key: string }
    for (let id = 0; id < 30; id++) await server.put(`m${id}`, version(id), { key })
    faults.set({ kind: 'kill', when: 'before' }, { first: 6 })
    const { end } = await command(['tenants', 'remove', 'acme', '--data-dir', dataDir], { env: faults.env })
    faults.count()
    const isCreatedAgain = async () => (await server.request('PUT', '/tenants/acme', { body: {} })).status < 300
    const ms = await timeUntil(isCreatedAgain, 2 * removedMs, 500)
    const { status } = await server.request('GET', '/tasks', { key })
    return [
      none('commands that were not killed', unless(end === 'SIGKILL', end)),
      atMost('time until the tenant can be created again', 'ms', ms ?? 2 * removedMs, removedMs),
      none('valid keys of the removed tenant', unless(status === 401, `status ${status}`)),
    ]
  },
}

const backups: Fault = {
  name: 'backup-durable',
  cause: 'one backup is written, and another on a disk without enough space',
  expected: 'the file and its directory are flushed; the other backup fails with the reason and leaves no file',
  needs: ['preload', 'root'],
  async run(testbed) {
    const { dataDir } = await prepared(testbed)
    const target = await testbed.directory()
    const faults = await testbed.storageFaults(target)
    const isFlushed: Record<string, boolean> = {}
    // If a failed flush fails the backup, then the backup flushes and waits for it.
    for (const [what, first] of [
      ['the file', 1],
      ['the directory', 2],
    ] as const) {
      faults.set({ kind: 'fail', error: 'EIO' }, { calls: ['flush'], first, times: 1 })
      const { end } = await command(['backup', join(target, what.slice(4)), '--data-dir', dataDir], { env: faults.env })
      isFlushed[what] = end === 'exit code 1'
    }
    const small = await testbed.disk('size=16k')
    const { end, output } = await command(['backup', join(small, 'backup'), '--data-dir', dataDir])
    const left = readdirSync(small)
    return [
      none(
        'parts that are not flushed',
        Object.entries(isFlushed).flatMap(([what, flushed]) => unless(flushed, what)),
      ),
      none('backups without space that succeed', unless(end === 'exit code 1', end)),
      none('missing reasons', unless(/no space left on device/i.test(output), output.slice(0, 200))),
      none('files left by the failed backup', left),
    ]
  },
}

const shared: Fault = {
  name: 'directory-shared',
  cause: 'two servers on one machine write to one directory, 40 changes each',
  expected: 'all changes are accepted, and visible on both',
  async run(testbed) {
    const dataDir = await testbed.directory()
    const servers = await Promise.all([testbed.server({ dataDir }), testbed.server({ dataDir })])
    const ledger = new Ledger()
    const writing = servers.map(async (server, writer) => {
      for (let count = 0; count < 40; count++) await ledger.put(server, `s${writer}-${count}`, version(count))
    })
    await Promise.all(writing)
    const wrong = (await Promise.all(servers.map((server) => ledger.check(server)))).flat()
    return [
      atMost('changes that were not accepted', '', ledger.changes - ledger.counts.made, 0),
      none('changes that are not visible', wrong),
    ]
  },
}

export const directoryFaults: readonly Fault[] = [
  replaced('directory-removed', 'the data directory is removed while the server runs', ({ dataDir }) =>
    rmSync(dataDir, { recursive: true }),
  ),
  replaced('database-replaced', 'a backup is renamed over tasks.lmdb while the server runs', ({ copy, database }) => {
    copyFileSync(copy, `${database}.new`)
    renameSync(`${database}.new`, database)
  }),
  overwritten,
  flipped,
  readOnly,
  noInodes,
  modes,
  namespaces,
  removal,
  backups,
  shared,
]
