// SIGTERM while something hangs: the server must still exit in time. Also other signals.

import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { atMost, type Fault, type Finding, none, unless } from './fault.js'
import { computingThread } from './native.js'
import { operatorKey, type ServerUnderTest } from './server.js'
import { version } from './task-files.js'
import type { Testbed } from './testbed.js'
import { timeUntil } from './waiting.js'

const shutdownMs = 3_000
/** Allowed beyond --shutdown-timeout-ms. */
const graceMs = 1_000
const waitMs = 20_000
const flags = ['--shutdown-timeout-ms', String(shutdownMs)]

/** A fault that makes something hang in a running server, which then receives SIGTERM. */
const stopDuring = (
  fault: Pick<Fault, 'name' | 'cause' | 'needs'>,
  prepare: (testbed: Testbed) => Promise<ServerUnderTest>,
): Fault => ({
  ...fault,
  expected: `the server exits within --shutdown-timeout-ms (${shutdownMs}) + ${graceMs} ms after SIGTERM`,
  run: async (testbed) => [await stopTime(await prepare(testbed))],
})

async function stopTime(server: ServerUnderTest): Promise<Finding> {
  server.signal('SIGTERM')
  const ms = await server.timeToEnd(waitMs)
  return atMost('time from SIGTERM to the exit', 'ms', ms, shutdownMs + graceMs, { end: server.end })
}

const hungEngine = (name: string, cause: string, engineTimeoutMs: number, isAbandoned: boolean) =>
  stopDuring({ name, cause, needs: ['preload'] }, async (testbed) => {
    const threads = await testbed.threadFaults()
    const server = await testbed.server({
      env: threads.env,
      flags: [...flags, '--engine-timeout-ms', String(engineTimeoutMs)],
    })
    threads.cause('endless loop', server.pid, await computingThread(server))
    if (isAbandoned)
      await timeUntil(async () => (await server.metric('propetl_engines_lost_total')) >= 1, 2 * engineTimeoutMs)
    return server
  })

const failingStorage = (
  name: string,
  cause: string,
  fault: Parameters<Awaited<ReturnType<Testbed['storageFaults']>>['set']>,
) =>
  stopDuring({ name, cause, needs: ['preload'] }, async (testbed) => {
    const dataDir = await testbed.directory()
    const storage = await testbed.storageFaults(dataDir)
    const server = await testbed.server({ dataDir, env: storage.env, flags })
    await server.put('before', version(0))
    storage.set(...fault)
    void server.put('in-progress', version(1), { timeoutMs: waitMs })
    await timeUntil(() => storage.faults > 0, 5_000)
    await delay(300)
    return server
  })

const frozenDatabase = stopDuring(
  {
    name: 'term-frozen-database',
    cause: 'the database stops responding while a change is in progress',
    needs: ['postgres'],
  },
  async (testbed) => {
    const database = await testbed.database()
    const proxy = await testbed.proxy(database)
    const server = await testbed.replica(database.urlThrough(proxy), { flags })
    proxy.blackHole = true
    void server.put('in-progress', version(0), { timeoutMs: waitMs })
    await delay(500)
    return server
  },
)

const frozenAtStart = stopDuring(
  {
    name: 'term-frozen-database-at-start',
    cause: 'a start with a mirror while the database accepts connections and does not respond',
    needs: ['postgres'],
  },
  async (testbed) => {
    const database = await testbed.database()
    const proxy = await testbed.proxy(database)
    const dataDir = await testbed.directory()
    const [url, env] = [database.urlThrough(proxy), { PROPETL_DATABASE_URL: database.urlThrough(proxy) }]
    const first = await testbed.replica(url, { dataDir })
    await first.put('before', version(0))
    await first.stop()
    proxy.blackHole = true
    const server = testbed.launch({ dataDir, flags, env })
    await timeUntil(() => server.isReady, 3_000)
    return server
  },
)

const head = (method: string, path: string, length: number) =>
  `${method} ${path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${operatorKey}\r\n` +
  `content-type: application/octet-stream\r\ncontent-length: ${length}\r\n\r\n`

const silentClients = stopDuring(
  {
    name: 'term-silent-clients',
    cause: 'clients that send nothing, half a head or half a body, or do not read their responses',
  },
  async (testbed) => {
    const server = await testbed.server({ flags })
    const sent = [
      '',
      'GET /tas',
      `${head('PUT', '/tasks/half', 10_000)}${'x'.repeat(500)}`,
      head('GET', '/tasks/clinc150/file', 0).repeat(200),
    ]
    const sockets = Array.from({ length: 8 }, () => sent.map((bytes) => silentClient(server, bytes))).flat()
    testbed.atEnd(() => {
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

/** Points in time during the start, after the process was created. */
const earlyMs = [200, 400, 700]

const early: Fault = {
  name: 'term-early-as-process-1',
  cause: `SIGTERM ${earlyMs.join(', ')} ms after the start of a server that is process 1 of a PID namespace`,
  expected: 'the server exits and does not start to serve',
  needs: ['root'],
  async run(testbed) {
    const findings: Finding[] = []
    for (const afterMs of earlyMs) {
      const wrapper = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc']
      const server = testbed.launch({ dataDir: await testbed.directory(), flags, wrapper })
      await delay(afterMs)
      const pid = server.wrappedPid
      if (pid === undefined) throw new Error('the server is not a child of unshare')
      process.kill(pid, 'SIGTERM')
      const ms = await server.timeToEnd(waitMs)
      const name = `time to the exit, SIGTERM after ${afterMs} ms`
      findings.push(atMost(name, 'ms', ms, shutdownMs + graceMs, { end: server.end }))
    }
    return findings
  },
}

const received: Fault = {
  name: 'term-received-requests',
  cause: 'SIGTERM right after six complete prediction requests were sent',
  expected: 'all six responses have status 200, and the exit code is 0',
  async run(testbed) {
    const server = await testbed.server({ flags: ['--shutdown-timeout-ms', '60000'] })
    const inputs = Array.from(
      { length: 60 },
      (_, index) => `a gorgeous film number ${index}${' of many words'.repeat(12)}`,
    )
    const body = JSON.stringify({ inputs })
    let unsent = 6
    const outcomes = Array.from({ length: 6 }, () => {
      const sent = request(`${server.url}/tasks/sst2/predict`, {
        agent: false,
        method: 'POST',
        headers: { authorization: `Bearer ${operatorKey}`, 'content-type': 'application/json' },
      })
      sent.end(body, () => {
        if (--unsent === 0) server.signal('SIGTERM')
      })
      return new Promise<string>((resolve) => {
        sent.once('error', ({ message }) => resolve(message))
        sent.once('response', (response) => {
          response.resume()
          response.once('close', () => resolve(response.complete ? String(response.statusCode) : 'incomplete'))
        })
      })
    })
    const failed = (await Promise.all(outcomes)).filter((outcome) => outcome !== '200')
    await server.timeToEnd(60_000)
    return [
      none('received requests without a response of status 200', failed),
      none('exits other than with code 0', unless(server.end === 'exit code 0', server.end)),
    ]
  },
}

/** Signals that must not stop the server. */
const otherSignals: Fault = {
  name: 'other-signals',
  cause: 'SIGHUP, SIGUSR1 and SIGPIPE',
  expected: 'the server keeps serving, and does not open a debugger',
  async run(testbed) {
    const server = await testbed.server()
    const failures: string[] = []
    for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGPIPE'] as const) {
      server.signal(signal)
      await delay(500)
      if (server.isEnded) return [none('signals that terminate the server', [`${signal}: ${server.end}`])]
      const { status } = await server.request('GET', '/tasks/sst2')
      if (status !== 200) failures.push(`${signal}: ${status}`)
    }
    return [
      none('signals that terminate the server or stop its responses', failures),
      none('debuggers opened', unless(!/debugger listening/i.test(server.output), 'by SIGUSR1')),
    ]
  },
}

export const shutdownFaults: readonly Fault[] = [
  hungEngine('term-hung-batch', 'an engine thread hangs during a batch', 30_000, false),
  hungEngine('term-hung-engine', 'an engine thread hangs and was abandoned', 1_000, true),
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
