// Runs the commands of a Markdown page in order and as written, in a copy of the project, and compares what they print with
// what the page shows. Only the port differs, because a test must not choose it.

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { settings as defaults } from '../../src/settings.js'
import { root, temporaryDirectory } from '../material.js'
import { matches, stepsOf } from './transcript.js'

/** Installs and serves. The project under test is installed already, so only the second half runs. */
const start = 'npm ci && npm start'

const servers: ChildProcess[] = []
after(() => {
  // The whole process group: npm runs the server in a shell.
  for (const { pid } of servers) if (pid !== undefined) process.kill(-pid, 'SIGKILL')
})

/** Declares a test for each command of the page. */
export function testCommandsOf(page: string): void {
  describe(page, async () => {
    const port = await freePort()
    const cwd = await projectCopy()
    const settings = { PROPETL_PORT: String(port), PROPETL_PROVIDER: 'cpu' }
    // When npx first runs a command of a project, npm would build the project again.
    const options = { cwd, env: { ...process.env, ...settings, npm_config_ignore_scripts: 'true' } }

    const shell = async (command: string): Promise<{ code: number; stdout: string; stderr: string }> => {
      const child = spawn('bash', ['-c', withPort(command, port)], options)
      const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)]
      const [code] = await once(child, 'close')
      return { code, stdout: withoutPort(stdout(), port), stderr: stderr() }
    }

    const steps = stepsOf(readFileSync(join(root, page), 'utf8'))
    test('begins by installing and starting the server', () => assert.equal(steps[0]?.command, start))
    for (const { line, command, output } of steps)
      test(`line ${line}: ${command}`, { timeout: 180_000 }, async () => {
        if (command === start) return ready(spawn('npm', ['start'], { ...options, detached: true }))
        let { code, stdout, stderr } = await shell(command)
        // A task that is being trained is live a few seconds later.
        while (stdout.includes('"code":"no_version"')) {
          await setTimeout(1000)
          ;({ code, stdout, stderr } = await shell(command))
        }
        assert.equal(code, 0, `${stdout}\n${stderr}`)
        assert.ok(output === '' || matches(output, stdout), `the page shows\n${output}\nbut it printed\n${stdout}`)
      })
  })
}

const documented = `localhost:${defaults.port.value}`
const withPort = (text: string, port: number) => text.replaceAll(documented, `localhost:${port}`)
const withoutPort = (text: string, port: number) => text.replaceAll(`localhost:${port}`, documented)

async function ready(server: ChildProcess): Promise<void> {
  servers.push(server)
  const stderr = collect(server.stderr)
  for await (const line of createInterface({ input: server.stdout as NodeJS.ReadableStream }))
    if (line.includes('"msg":"ready"')) {
      server.stdout?.resume()
      return
    }
  assert.fail(`the server exited: ${stderr()}`)
}

/** Links to everything in the project, so that the commands write nothing into it. */
async function projectCopy(): Promise<string> {
  const directory = await temporaryDirectory()
  for (const name of readdirSync(root))
    if (!['.git', 'data'].includes(name)) symlinkSync(join(root, name), join(directory, name))
  return directory
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  let text = ''
  stream?.on('data', (piece) => {
    text += piece
  })
  return () => text
}
