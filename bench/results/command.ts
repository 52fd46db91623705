// Runs a command of propetl as users do, and reads its report.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { inPackage } from '../../src/package.js'

const cli = fileURLToPath(inPackage('dist/cli.js'))

/** What `learn` prints when it has a head. */
const headReady = /is ready/

/** Runs a command. @returns its report, and the time until it ended and until it reported a head */
export async function propetl(...args: readonly string[]) {
  const start = performance.now()
  const passed = () => (performance.now() - start) / 1000
  const child = spawn(process.execPath, [cli, ...args, '--json'], { stdio: ['ignore', 'pipe', 'pipe'] })
  let secondsToHead: number | undefined
  let messages = ''
  child.stderr.on('data', (chunk: Buffer) => {
    messages += chunk
    if (secondsToHead === undefined && headReady.test(messages)) secondsToHead = passed()
  })
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')])
  if (code !== 0) throw new Error(`propetl ${args.join(' ')} failed: ${messages}`)
  const report = JSON.parse(output) as Readonly<Record<string, unknown>>
  return { report, secondsToHead, seconds: passed() }
}
