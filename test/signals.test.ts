// Signals and native faults of a server process: what ends the process, and how.

import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, openSync, readdirSync, readFileSync, truncateSync } from 'node:fs'
import { copyFile, writeFile } from 'node:fs/promises'
import { constants } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connect } from 'node:tls'
import { root, taskBytes, temporaryDirectory } from './material.js'
import { withoutPreload } from './native-faults/library.js'
import { busiestThread, type ThreadFault, ThreadFaults } from './native-faults/thread-faults.js'
import { RawClient, request } from './raw-client.js'
import { outputOf, predict, put, ready, referenceFlags, type ServerProcess, serve, start } from './server-process.js'
import { isRoot } from './small-disk.js'

const sst2 = taskBytes('sst2')
const withoutProc = existsSync('/proc/self/status') ? false : 'there is no /proc'

const pidOf = ({ process: { pid } }: Pick<ServerProcess, 'process'>) => pid ?? assert.fail('the process did not start')

/** The signals for which the process's main program or a library has a handler. */
function caught(pid: number): Set<string> {
  const [, mask = '0'] = /^SigCgt:\s*(\w+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  const bits = BigInt(`0x${mask}`)
  const names = Object.entries(constants.signals).filter(([, number]) => (bits >> BigInt(number - 1)) & 1n)
  return new Set(names.map(([name]) => name))
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await delay(5)
}

const lastLine = (output: string) => JSON.parse(output.trimEnd().split('\n').at(-1) ?? '') as Record<string, unknown>

/** Node itself handles SIGTERM, to restore the terminal, but not SIGHUP. */
const isListening = (pid: number) => caught(pid).has('SIGHUP')
const threadsOf = (pid: number) => readdirSync(`/proc/${pid}/task`).map(Number)

/** A server whose engine thread is computing. `cause` injects a fault into that thread. */
async function computing(...flags: string[]) {
  const faults = await ThreadFaults.create()
  const env = { ...process.env, ...faults.env }
  const given = [...(await referenceFlags(await temporaryDirectory())), '--threads', '1', ...flags]
  const child = start([], given, { env })
  const pid = pidOf({ process: child })
  await until(() => isListening(pid))
  const threadsOfNode = threadsOf(pid)
  const server = await ready(child)
  const inputs = Array.from({ length: 250 }, (_, i) => `a gorgeous film, number ${i}${' of many words'.repeat(30)}`)
  const headers = { 'content-type': 'application/json' }
  for (let i = 0; i < 4; i++)
    fetch(`${server.url}/tasks/sst2/predict`, { method: 'POST', headers, body: JSON.stringify({ inputs }) }).catch(
      () => {},
    )
  // A thread of Node may be busier for a moment.
  let thread: number
  do thread = await busiestThread(pid, 300)
  while (threadsOfNode.includes(thread))
  return {
    server,
    output: outputOf(child),
    cause(fault: ThreadFault) {
      faults.cause(fault, pid, thread)
      faults.close()
    },
  }
}

describe('a native fault ends a server by its signal', () => {
  test('if the mapped file of tasks was truncated', async () => {
    const dataDir = await temporaryDirectory()
    const server = await serve(dataDir)
    for (let i = 0; i < 20; i++) assert.equal((await put(server.url, `t${i}`, sst2)).status, 201)
    truncateSync(join(dataDir, 'tasks.lmdb'), 8192)
    await Promise.all([fetch(`${server.url}/tasks/t5/file`).catch(() => {}), server.exit])
    assert.deepEqual(await server.exit, [null, 'SIGBUS'])
  })

  test('if it happens in the thread of an engine', { skip: withoutPreload }, async () => {
    const { server, cause } = await computing()
    cause('bad address')
    assert.deepEqual(await server.exit, [null, 'SIGSEGV'])
  })

  test('because the server handles only the signals that it needs', { skip: withoutProc }, async () => {
    const server = await serve(await temporaryDirectory())
    const listened = caught(pidOf(server))
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'])
      assert.ok(listened.has(signal), signal)
    // V8 has its own handler for SIGSEGV, which ends the process.
    for (const signal of ['SIGBUS', 'SIGILL', 'SIGFPE', 'SIGABRT', 'SIGTRAP']) assert.ok(!listened.has(signal), signal)
    server.process.kill('SIGSEGV')
    assert.deepEqual(await server.exit, [null, 'SIGSEGV'])
  })
})

describe('a server that cannot shut down gracefully', () => {
  test('because an engine hangs kills itself after the timeout, and says what it waited for', {
    skip: withoutPreload,
  }, async () => {
    const { server, output, cause } = await computing('--shutdown-timeout-ms', '1000')
    cause('endless loop')
    server.process.kill('SIGTERM')
    assert.deepEqual(await server.exit, [null, 'SIGKILL'])
    const { level, waits_for, msg } = lastLine(output())
    assert.equal(level, 60)
    assert.ok((waits_for as string[]).includes('engines'))
    assert.match(String(msg), /shutdown took longer than --shutdown-timeout-ms \(1000 ms\)/)
  })

  test('because its main thread is blocked is killed by another thread, which writes the last line', async () => {
    const script = `import { killAfter } from './dist/shutdown.js'
      killAfter(50, 'last line at <time>\\n')
      for (;;);`
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { cwd: root })
    const output = outputOf(child)
    assert.deepEqual(await once(child, 'close'), [null, 'SIGKILL'])
    assert.match(output(), /^last line at \d{4}-\d\d-\d\dT[\d:.]+Z$/m)
  })

  test('because the thread pool hangs during the start kills itself', async (t) => {
    const [directory, dataDir] = [await temporaryDirectory(), await temporaryDirectory()]
    try {
      execFileSync('mkfifo', [join(directory, 'hangs.safetensors')])
    } catch {
      return t.skip('there are no named pipes')
    }
    const flags = [...(await referenceFlags(dataDir)), '--masks-dir', directory, '--shutdown-timeout-ms', '500']
    const child = start([], flags)
    const output = outputOf(child)
    await until(() => /listening on/.test(output()))
    // Whether the signal comes before or after the pipe is opened: reading the pipe never ends.
    child.kill('SIGTERM')
    assert.deepEqual(await once(child, 'close'), [null, 'SIGKILL'])
    assert.deepEqual(lastLine(output()).waits_for, ['start'])
  })

  test('exits at once after a second signal', async () => {
    const server = await serve(await temporaryDirectory(), '--shutdown-timeout-ms', '3600000')
    const output = outputOf(server.process)
    // The server would wait for the second half of this request.
    new RawClient(server.url).send(request('POST', '/tasks/sst2/predict', '', { 'content-length': '900' }))
    assert.equal((await predict(server.url, 'sst2')).status, 200)
    server.process.kill('SIGTERM')
    await until(() => /stopping: finishing accepted requests/.test(output()))
    server.process.kill('SIGINT')
    assert.deepEqual(await server.exit, [null, 'SIGKILL'])
    assert.match(String(lastLine(output()).msg), /a second signal to stop arrived/)
  })
})

describe('SIGTERM while a server starts', () => {
  test('is handled before anything slow is imported', { skip: withoutProc }, async () => {
    const child = start([], await referenceFlags(await temporaryDirectory()))
    const output = outputOf(child)
    await until(() => isListening(pidOf({ process: child })))
    const maps = readFileSync(`/proc/${child.pid}/maps`, 'utf8')
    assert.doesNotMatch(maps, /\.node$/m)
    child.kill('SIGTERM')
    assert.deepEqual(await once(child, 'close'), [0, null])
    assert.equal(output(), '')
  })

  const alone = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc']
  const withoutNamespaces = isRoot && process.platform === 'linux' ? false : 'a namespace of processes needs root'
  test('is handled by process 1 of a container, which ignores signals without a handler', {
    skip: withoutNamespaces,
  }, async () => {
    const unshare = start(alone, await referenceFlags(await temporaryDirectory()))
    const child = () => Number(readFileSync(`/proc/${unshare.pid}/task/${unshare.pid}/children`, 'utf8'))
    await until(() => child() > 0 && isListening(child()))
    process.kill(child(), 'SIGTERM')
    assert.deepEqual(await once(unshare, 'close'), [0, null])
  })
})

describe('a signal that does not mean shutdown', () => {
  const stdio: SpawnOptions = { stdio: ['ignore', 'pipe', 'pipe'] }
  const pem = (name: string) => join(root, 'test/fixtures/tls', `${name}.pem`)

  /** Waits for a text in the log after an offset. @returns the log from that offset on */
  const newOutput = async (output: () => string, text: string, since: number) => {
    await until(() => output().indexOf(text, since) >= 0)
    return output().slice(since)
  }

  test('does not end a server or open a debugger', async () => {
    const child = start([], await referenceFlags(await temporaryDirectory()), stdio)
    const output = outputOf(child)
    const server = await ready(child)
    for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) {
      child.kill(signal)
      await newOutput(output, `"signal":"${signal}"`, 0)
    }
    assert.equal((await predict(server.url, 'sst2')).status, 200)
    child.kill('SIGTERM')
    assert.deepEqual(await server.exit, [0, null])
    assert.doesNotMatch(output(), /debugger/i)
  })

  test('SIGHUP makes a server reload its settings file and its certificate', async () => {
    const directory = await temporaryDirectory()
    const [cert, key, file] = ['cert.pem', 'key.pem', 'settings'].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ]
    const use = async (name: string) => {
      await copyFile(pem(`${name}.cert`), cert)
      await copyFile(pem(`${name}.key`), key)
    }
    await use('first')
    await writeFile(file, `PROPETL_TLS_CERT=${cert}\nPROPETL_TLS_KEY="${key}"\n`)
    const flags = [...(await referenceFlags(await temporaryDirectory())), '--settings-file', file]
    const child = start([], flags, stdio)
    const output = outputOf(child)
    const server = await ready(child)

    await use('second')
    await writeFile(
      file,
      `# Verbose.\nPROPETL_LOG_LEVEL=debug\nPROPETL_TLS_CERT=${cert}\nPROPETL_TLS_KEY=${key}\nPROPETL_SLOTS=9\n`,
    )
    child.kill('SIGHUP')
    const log = await newOutput(output, 'the certificate was renewed', 0)
    assert.match(log, /"log_level":"debug","msg":"the settings were reloaded"/)
    assert.match(log, /"settings":\["--slots"\],"msg":"these settings changed and take effect after a restart"/)
    const socket = connect({ port: Number(new URL(server.url).port), host: '127.0.0.1', rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    assert.equal(socket.getPeerCertificate().subject.CN, 'second')
    socket.write('GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n')
    await newOutput(output, '"url":"/health/live"', 0)

    const before = output().length
    await writeFile(file, 'PROPETL_LOG_LEVLE=info\n')
    child.kill('SIGHUP')
    const line = await newOutput(output, 'the settings could not be reloaded', before)
    assert.match(line, /settings, line 1: expected a setting like PROPETL_LOG_LEVEL=debug/)
    socket.destroy()
    child.kill('SIGTERM')
    assert.deepEqual(await server.exit, [0, null])
  })
})

describe('a log', () => {
  const logging = (script: string, stdout: 'pipe' | number): ChildProcess =>
    spawn(
      process.execPath,
      ['--input-type=module', '--eval', `import { openLog } from './dist/http/logger.js'\n${script}`],
      { cwd: root, stdio: ['ignore', stdout, 'pipe'] },
    )

  test('on a full disk does not keep the process from exiting', async () => {
    const script = `const log = openLog('info', false)
      log.logger.info('lost')
      log.logger.fatal('lost, too')
      await log.flush()
      process.exit(0)`
    const child = logging(script, openSync('/dev/full', 'w'))
    const output = outputOf(child)
    assert.deepEqual(await once(child, 'close'), [0, null], output())
  })

  test('that nobody reads does not block the process, and takes bounded memory', async () => {
    const script = `const { logger } = openLog('info', false)
      for (let i = 0; i < 100_000; i++) logger.info('x'.repeat(1000))
      console.error(process.memoryUsage.rss() / 2 ** 20 < 200 ? 'goes on' : 'too large')`
    const child = logging(script, 'pipe')
    const [newOutput] = await once(child.stderr ?? assert.fail(), 'data')
    assert.equal(String(newOutput), 'goes on\n')
    child.kill('SIGKILL')
  })
})
