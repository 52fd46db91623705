// A data directory that is removed, replaced, damaged, or may not be used as it is; commands beside a server.

import { execFileSync } from 'node:child_process'
import { copyFileSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { many } from '../attacks/attack.js'
import { flipBits } from './damage.js'
import { atMost, type Fault, type Finding, none, unless } from './fault.js'
import { Ledger } from './ledger.js'
import { command, type ServerUnderTest, told } from './server.js'
import type { Stage } from './stage.js'
import { version } from './task-files.js'
import { timeUntil } from './waiting.js'

const noticedMs = 1_200
const stopMs = 4_000
const flags = ['--shutdown-timeout-ms', '3000']

/** A server with tasks, and a backup of its directory from before the last of them. */
async function prepared(stage: Stage, tasks = 4) {
  const dataDir = await stage.directory()
  const server = await stage.server({ dataDir, flags })
  const database = join(dataDir, 'tasks.lmdb')
  for (let id = 0; id < tasks; id++) await server.put(`t${id}`, version(id))
  const copy = join(await stage.directory(), 'backup')
  const { end, output } = await command(['backup', copy, '--data-dir', dataDir])
  if (end !== 'exit code 0') throw new Error(`the backup ended with ${end}: ${output}`)
  await server.put('last', version(9))
  return { dataDir, database, copy, server }
}

/** A database file that is not the one any more that the server has open. */
const exchanged = (
  name: string,
  does: string,
  exchange: (made: Awaited<ReturnType<typeof prepared>>) => unknown,
): Fault => ({
  name,
  does,
  must: 'no change is acknowledged any more; the server is not ready within a second, and its log says why',
  async run(stage) {
    // One is asked for a change at once, the other one has to notice by itself.
    const [asked, idle] = await Promise.all([prepared(stage), prepared(stage)])
    await exchange(asked)
    const changes = [await asked.server.put('at-once', version(5), { timeoutMs: 5_000 })]
    await exchange(idle)
    const isUnready = async () => (await idle.server.ask('GET', '/health/ready')).status === 503
    const ms = await timeUntil(isUnready, 10_000, 20)
    for (const { server } of [asked, idle]) changes.push(await server.put('later', version(6), { timeoutMs: 5_000 }))
    const isTold = idle.server.output
      .split('\n')
      .some((line) => /"level":[456]0/.test(line) && /tasks\.lmdb|directory/.test(line))
    idle.server.signal('SIGTERM')
    return [
      none('changes acknowledged into a file that is gone', changes.filter(({ status }) => status < 300).map(told)),
      atMost('until /health/ready is 503', 'ms', ms ?? 10_000, noticedMs),
      none('reasons that are not in the log', unless(isTold, 'no line names the directory')),
      atMost('from SIGTERM to the end', 'ms', await idle.server.timeToEnd(20_000), stopMs),
    ]
  },
})

const overwritten: Fault = {
  name: 'database-overwritten',
  does: 'a backup is copied over the very file that the server has mapped',
  must: 'the process ends by a signal, or refuses changes; it never hangs, and a start afterwards serves',
  async run(stage) {
    const { dataDir, database, copy, server } = await prepared(stage)
    copyFileSync(copy, database)
    await delay(500)
    const asked = [
      server.ask('GET', '/tasks/t3/file'),
      server.ask('GET', '/tasks?limit=100'),
      server.put('e', version(7)),
    ]
    const answers = await Promise.all(asked)
    const hangs = await hangOf(server)
    await server.kill()
    const again = await stage.server({ dataDir })
    const lost = answers[2]?.status === 201 ? unless((await again.digest('e')) !== undefined, 'e is absent') : []
    return [none('hangs', hangs), none('acknowledged changes lost', lost)]
  },
}

/** Whether a server neither answers nor ends. */
async function hangOf(server: ServerUnderTest): Promise<string[]> {
  if (server.isEnded) return []
  const { status } = await server.ask('GET', '/health/live', { timeoutMs: 3_000 })
  server.signal('SIGTERM')
  await server.timeToEnd(stopMs)
  return [
    ...unless(status === 200 || server.isEnded, 'it does not answer'),
    ...unless(server.isEnded, 'SIGTERM does nothing'),
  ]
}

const flipSeeds = [1, 2, 3, 4, 5, 6, 7, 8]

/** So many that the index has some pages. */
const flippedTasks = 60

const flipped: Fault = {
  name: 'database-flipped',
  does: `single bits of a stopped server's tasks.lmdb flip, ${flipSeeds.length} times`,
  must: 'the next server refuses to start, ends, or answers; it never hangs',
  async run(stage) {
    const { database, server } = await prepared(stage, flippedTasks)
    await server.stop()
    const hangs: string[] = []
    const ends: string[] = []
    for (const seed of flipSeeds) {
      const dataDir = await stage.directory()
      copyFileSync(database, join(dataDir, 'tasks.lmdb'))
      flipBits(join(dataDir, 'tasks.lmdb'), seed, 8)
      const damaged = stage.launch({ dataDir, flags })
      await timeUntil(() => damaged.isReady || damaged.isEnded, 20_000)
      if (damaged.isReady) {
        const paths = ['/tasks?limit=100', ...many(flippedTasks / 5, (id) => `/tasks/t${5 * id}/file`), '/tenants']
        for (const path of paths) if (!damaged.isEnded) await damaged.ask('GET', path, { timeoutMs: 3_000 })
        if (!damaged.isEnded) await damaged.put('new', version(0), { timeoutMs: 3_000 })
        await delay(300)
      }
      ends.push(damaged.end)
      hangs.push(...(await hangOf(damaged)).map((what) => `seed ${seed}: ${what}`))
    }
    return [none('hangs', hangs, { ends: ends.join(', ') })]
  },
}

const readOnly: Fault = {
  name: 'directory-read-only',
  does: 'the file system is read-only at a start',
  must: 'the start is refused by that reason, exit code 1',
  needs: ['root'],
  async run(stage) {
    const disk = await stage.disk('size=8m')
    const dataDir = join(disk, 'data')
    const server = await stage.server({ dataDir })
    await server.put('before', version(0))
    await server.stop()
    execFileSync('mount', ['-o', 'remount,ro', disk])
    return refusedStart(stage, dataDir, /read-only file system/i)
  },
}

/** A start that is to end with exit code 1 and a reason. */
async function refusedStart(stage: Stage, dataDir: string, reason: RegExp): Promise<Finding[]> {
  const server = stage.launch({ dataDir })
  await timeUntil(() => server.isEnded || server.isReady, 20_000)
  return [
    none('starts that do not end with exit code 1', unless(server.end === 'exit code 1', server.end)),
    none('reasons that are not told in the last line', unless(reason.test(server.lastLine), server.lastLine)),
  ]
}

const noInodes: Fault = {
  name: 'directory-no-inodes',
  does: 'the file system takes no further file',
  must: 'the start is refused by that reason, exit code 1',
  needs: ['root'],
  run: async (stage) =>
    refusedStart(stage, join(await stage.disk('size=8m,nr_inodes=2'), 'data'), /no space left on device/i),
}

const modes: Fault = {
  name: 'file-modes',
  does: 'a server and a backup write files, umask 022',
  must: 'only their user may read them (0600)',
  async run(stage) {
    const { dataDir, copy } = await prepared(stage)
    const files = [copy, ...readdirSync(dataDir).map((name) => join(dataDir, name))]
    const open = files.flatMap((file) => {
      const mode = (statSync(file).mode & 0o777).toString(8)
      return unless(mode === '600', `${file.split('/').at(-1)} is 0${mode}`)
    })
    return [none('files that others may read', open)]
  },
}

const container = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc']

const namespaces: Fault = {
  name: 'pid-namespaces',
  does: 'commands and a server in containers of their own use the directory of a server that is process 1 of another one',
  must: 'they work, or say that the containers have process ids of their own and name `exec`; nobody is harmed',
  needs: ['root'],
  async run(stage) {
    const dataDir = await stage.directory()
    const server = await stage.server({ dataDir, wrapper: container })
    await server.put('before', version(0))
    const target = join(await stage.directory(), 'backup')
    const wrong: string[] = []
    for (const args of [
      ['tenants', 'create-key', 'operator'],
      ['backup', target],
    ]) {
      const { end, output } = await command([...args, '--data-dir', dataDir], { wrapper: container })
      const isTold = /exec/.test(output) && /process|PID/i.test(output) && !/TypeError|\n\s+at /.test(output)
      if (end !== 'exit code 0' && !isTold) wrong.push(`${args[0]}: ${end}: ${output.slice(0, 200)}`)
    }
    const second = stage.launch({ dataDir, wrapper: container })
    await timeUntil(() => second.isReady || second.isEnded, 30_000)
    const isTold = /exec|process id/i.test(second.complaint) && !/TypeError/.test(second.output)
    if (!second.isReady && !isTold) wrong.push(`serve: ${second.end}: ${second.complaint}`)
    const after = await server.put('after', version(1))
    return [
      none('failures that do not name the cause', wrong),
      none('changes refused by the first server', unless(after.status === 201, told(after))),
    ]
  },
}

/** A server looks for such removals each minute. */
const removedMs = 120_000

const removal: Fault = {
  name: 'removal-cut-off',
  does: '`propetl tenants remove` is killed part-way, beside a server that goes on',
  must: 'the removal is finished in the background within two minutes, and the tenant can be made anew',
  needs: ['preload'],
  async run(stage) {
    const dataDir = await stage.directory()
    const faults = await stage.storageFaults(join(dataDir, 'tasks.lmdb'))
    const server = await stage.server({ dataDir })
    await server.ask('PUT', '/tenants/acme', { body: {} })
    const created = await server.ask('POST', '/tenants/acme/keys', { body: {} })
    const { key } = JSON.parse(created.body.toString()) as { key: string }
    for (let id = 0; id < 30; id++) await server.put(`m${id}`, version(id), { key })
    faults.set({ kind: 'kill', when: 'before' }, { first: 6 })
    const { end } = await command(['tenants', 'remove', 'acme', '--data-dir', dataDir], { env: faults.env })
    faults.count()
    const isMadeAnew = async () => (await server.ask('PUT', '/tenants/acme', { body: {} })).status < 300
    const ms = await timeUntil(isMadeAnew, 2 * removedMs, 500)
    const { status } = await server.ask('GET', '/tasks', { key })
    return [
      none('commands that were not killed', unless(end === 'SIGKILL', end)),
      atMost('until the tenant can be made anew', 'ms', ms ?? 2 * removedMs, removedMs),
      none('keys of the removed tenant that work', unless(status === 401, `answered ${status}`)),
    ]
  },
}

const backups: Fault = {
  name: 'backup-durable',
  does: 'a backup is made, and one on a disk without room for it',
  must: 'the file and its directory are flushed; the other one fails by its reason and leaves no file',
  needs: ['preload', 'root'],
  async run(stage) {
    const { dataDir } = await prepared(stage)
    const target = await stage.directory()
    const faults = await stage.storageFaults(target)
    const isFlushed: Record<string, boolean> = {}
    // A flush that fails has to fail the backup: that tells that it is there and waited for.
    for (const [what, first] of [
      ['the file', 1],
      ['the directory', 2],
    ] as const) {
      faults.set({ kind: 'fail', error: 'EIO' }, { calls: ['flush'], first, times: 1 })
      const { end } = await command(['backup', join(target, what.slice(4)), '--data-dir', dataDir], { env: faults.env })
      isFlushed[what] = end === 'exit code 1'
    }
    const small = await stage.disk('size=16k')
    const { end, output } = await command(['backup', join(small, 'backup'), '--data-dir', dataDir])
    const left = readdirSync(small)
    return [
      none(
        'what is not flushed',
        Object.entries(isFlushed).flatMap(([what, flushed]) => unless(flushed, what)),
      ),
      none('backups without room that succeed', unless(end === 'exit code 1', end)),
      none('reasons that are not told', unless(/no space left on device/i.test(output), output.slice(0, 200))),
      none('files left by a backup that failed', left),
    ]
  },
}

const shared: Fault = {
  name: 'directory-shared',
  does: 'two servers of one machine write to one directory, 40 changes each',
  must: 'all changes are accepted, and seen by both',
  async run(stage) {
    const dataDir = await stage.directory()
    const servers = await Promise.all([stage.server({ dataDir }), stage.server({ dataDir })])
    const ledger = new Ledger()
    const writing = servers.map(async (server, writer) => {
      for (let count = 0; count < 40; count++) await ledger.put(server, `s${writer}-${count}`, version(count))
    })
    await Promise.all(writing)
    const wrong = (await Promise.all(servers.map((server) => ledger.check(server)))).flat()
    return [
      atMost('changes that were not accepted', '', ledger.changes - ledger.counts.made, 0),
      none('changes that are not seen', wrong),
    ]
  },
}

export const directoryFaults: readonly Fault[] = [
  exchanged('directory-removed', 'the data directory is removed while the server runs', ({ dataDir }) =>
    rmSync(dataDir, { recursive: true }),
  ),
  exchanged('database-replaced', 'a backup is renamed over tasks.lmdb while the server runs', ({ copy, database }) => {
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
