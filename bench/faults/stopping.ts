// SIGTERM while something hangs: the server must end in time all the same. And other signals.

import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { atMost, type Fault, type Finding, none, unless } from './fault.js'
import { computingThread } from './native.js'
import { operatorKey, type ServerUnderTest } from './server.js'
import type { Stage } from './stage.js'
import { version } from './task-files.js'
import { timeUntil } from './waiting.js'

const shutdownMs = 3_000
/** Beyond the given time, at most. */
const graceMs = 1_000
const patienceMs = 20_000
const flags = ['--shutdown-timeout-ms', String(shutdownMs)]

/** A fault that leaves something hanging in a running server, which is then told to stop. */
const stopWith = (
  what: Pick<Fault, 'name' | 'does' | 'needs'>,
  prepare: (stage: Stage) => Promise<ServerUnderTest>,
): Fault => ({
  ...what,
  must: `it ends within --shutdown-timeout-ms (${shutdownMs}) + ${graceMs} ms after SIGTERM`,
  run: async (stage) => [await stopTime(await prepare(stage))],
})

async function stopTime(server: ServerUnderTest): Promise<Finding> {
  server.signal('SIGTERM')
  const ms = await server.timeToEnd(patienceMs)
  return atMost('from SIGTERM to the end', 'ms', ms, shutdownMs + graceMs, { end: server.end })
}

const hungEngine = (name: string, does: string, engineTimeoutMs: number, isGivenUp: boolean) =>
  stopWith({ name, does, needs: ['preload'] }, async (stage) => {
    const threads = await stage.threadFaults()
    const server = await stage.server({
      env: threads.env,
      flags: [...flags, '--engine-timeout-ms', String(engineTimeoutMs)],
    })
    threads.cause('endless loop', server.pid, await computingThread(server))
    if (isGivenUp) await timeUntil(() => /an engine is lost/.test(server.output), 2 * engineTimeoutMs)
    return server
  })

const failingStorage = (
  name: string,
  does: string,
  fault: Parameters<Awaited<ReturnType<Stage['storageFaults']>>['set']>,
) =>
  stopWith({ name, does, needs: ['preload'] }, async (stage) => {
    const dataDir = await stage.directory()
    const storage = await stage.storageFaults(dataDir)
    const server = await stage.server({ dataDir, env: storage.env, flags })
    await server.put('before', version(0))
    storage.set(...fault)
    void server.put('under-way', version(1), { timeoutMs: patienceMs })
    await timeUntil(() => storage.faults > 0, 5_000)
    await delay(300)
    return server
  })

const frozenDatabase = stopWith(
  {
    name: 'term-frozen-database',
    does: 'the database does not answer any more, a change is under way',
    needs: ['postgres'],
  },
  async (stage) => {
    const database = await stage.database()
    const proxy = await stage.proxy(database)
    const server = await stage.replica(database.urlThrough(proxy), { flags })
    proxy.blackHole = true
    void server.put('under-way', version(0), { timeoutMs: patienceMs })
    await delay(500)
    return server
  },
)

const frozenAtStart = stopWith(
  {
    name: 'term-frozen-database-at-start',
    does: 'a start with a mirror while the database accepts connections and says nothing',
    needs: ['postgres'],
  },
  async (stage) => {
    const database = await stage.database()
    const proxy = await stage.proxy(database)
    const dataDir = await stage.directory()
    const [url, env] = [database.urlThrough(proxy), { PROPETL_DATABASE_URL: database.urlThrough(proxy) }]
    const first = await stage.replica(url, { dataDir })
    await first.put('before', version(0))
    await first.stop()
    proxy.blackHole = true
    const server = stage.launch({ dataDir, flags, env })
    await timeUntil(() => server.isReady, 3_000)
    return server
  },
)

const head = (method: string, path: string, length: number) =>
  `${method} ${path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${operatorKey}\r\n` +
  `content-type: application/octet-stream\r\ncontent-length: ${length}\r\n\r\n`

const silentClients = stopWith(
  {
    name: 'term-silent-clients',
    does: 'clients that say nothing, half a head, half a body, or never read their answers',
  },
  async (stage) => {
    const server = await stage.server({ flags })
    const sent = [
      '',
      'GET /tas',
      `${head('PUT', '/tasks/half', 10_000)}${'x'.repeat(500)}`,
      head('GET', '/tasks/clinc150/file', 0).repeat(200),
    ]
    const sockets = Array.from({ length: 8 }, () => sent.map((bytes) => silentClient(server, bytes))).flat()
    stage.atEnd(() => {
      for (const socket of sockets) socket.destroy()
    })
    await delay(500)
    return server
  },
)

function silentClient(server: ServerUnderTest, bytes: string): Socket {
  const socket = connect({ port: Number(new URL(server.url).port), host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => {})
  socket.pause()
  socket.write(bytes)
  return socket
}

/** Moments in the start, in milliseconds after the process was made. */
const earlyMs = [200, 400, 700]

const early: Fault = {
  name: 'term-early-as-process-1',
  does: `SIGTERM ${earlyMs.join(', ')} ms after the start of a server that is process 1 of a container`,
  must: 'the signal counts: the server does not go on to serve',
  needs: ['root'],
  async run(stage) {
    const findings: Finding[] = []
    for (const afterMs of earlyMs) {
      const wrapper = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc']
      const server = stage.launch({ dataDir: await stage.directory(), flags, wrapper })
      await delay(afterMs)
      const pid = server.wrappedPid
      if (pid === undefined) throw new Error('the server is not a child of unshare')
      process.kill(pid, 'SIGTERM')
      const ms = await server.timeToEnd(patienceMs)
      const what = `until the end, SIGTERM after ${afterMs} ms`
      findings.push(atMost(what, 'ms', ms, shutdownMs + graceMs, { end: server.end }))
    }
    return findings
  },
}

const received: Fault = {
  name: 'term-received-requests',
  does: 'SIGTERM right after six predictions were sent whole',
  must: 'all six are answered 200, and the server exits 0',
  async run(stage) {
    const server = await stage.server({ flags: ['--shutdown-timeout-ms', '60000'] })
    const inputs = Array.from(
      { length: 60 },
      (_, index) => `a gorgeous film number ${index}${' of many words'.repeat(12)}`,
    )
    const body = JSON.stringify({ inputs })
    let unsent = 6
    const outcomes = Array.from({ length: 6 }, () => {
      const asked = request(`${server.url}/tasks/sst2/predict`, {
        agent: false,
        method: 'POST',
        headers: { authorization: `Bearer ${operatorKey}`, 'content-type': 'application/json' },
      })
      asked.end(body, () => {
        if (--unsent === 0) server.signal('SIGTERM')
      })
      return new Promise<string>((resolve) => {
        asked.once('error', ({ message }) => resolve(message))
        asked.once('response', (response) => {
          response.resume()
          response.once('close', () => resolve(response.complete ? String(response.statusCode) : 'cut off'))
        })
      })
    })
    const failed = (await Promise.all(outcomes)).filter((outcome) => outcome !== '200')
    await server.timeToEnd(60_000)
    return [
      none('requests that were received and not answered 200', failed),
      none('other ends than exit code 0', unless(server.end === 'exit code 0', server.end)),
    ]
  },
}

/** Signals that are no order to stop. */
const otherSignals: Fault = {
  name: 'other-signals',
  does: 'SIGHUP, SIGUSR1 and SIGPIPE',
  must: 'the server goes on, and opens no debugger',
  async run(stage) {
    const server = await stage.server()
    const ended: string[] = []
    for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGPIPE'] as const) {
      server.signal(signal)
      await delay(500)
      if (server.isEnded) return [none('signals that end the server', [`${signal}: ${server.end}`])]
      const { status } = await server.ask('GET', '/tasks/sst2')
      if (status !== 200) ended.push(`${signal}: ${status}`)
    }
    return [
      none('signals that end the server or keep it from answering', ended),
      none('debuggers opened', unless(!/debugger listening/i.test(server.output), 'by SIGUSR1')),
    ]
  },
}

export const stoppingFaults: readonly Fault[] = [
  hungEngine('term-hung-batch', 'a thread hangs in the engine with a batch', 30_000, false),
  hungEngine('term-hung-engine', 'a thread hangs in the engine and was given up', 1_000, true),
  frozenDatabase,
  frozenAtStart,
  failingStorage('term-full-disk', 'the disk is full', [{ kind: 'fail', error: 'ENOSPC' }, { calls: ['write'] }]),
  failingStorage('term-failing-flush', 'every flush fails', [{ kind: 'fail', error: 'EIO' }, { calls: ['flush'] }]),
  failingStorage('term-hung-flush', 'a flush takes a minute', [
    { kind: 'delay', delayMs: 60_000 },
    { calls: ['flush'] },
  ]),
  silentClients,
  early,
  received,
  otherSignals,
]
