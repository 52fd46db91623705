// The program of a learner: a child process of the server that trains one task, reports how it goes, and exits. It yields
// to all other processes of the machine, and ends when the server does.

import { readdirSync, writeFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { setPriority } from 'node:os'
import { text } from 'node:stream/consumers'
import { Worker } from 'node:worker_threads'
import { Problem } from '../problem.js'
import { type LearnerMessage, type LearnerRequest, messagesFd } from './messages.js'

yieldToOthers(Number(process.argv[2]))
// A thread of its own notices the end of the server even while this one computes.
new Worker(new URL('./lifeline.js', import.meta.url)).unref()

const messages = new Socket({ fd: messagesFd, readable: false })
const send = (message: LearnerMessage): void => {
  messages.write(`${JSON.stringify(message)}\n`)
}

send({ kind: 'phase', phase: 'reading' })
try {
  const request: LearnerRequest = JSON.parse(await text(process.stdin))
  // The code of training takes a while to load. The priority is low by then.
  const { trainFor } = await import('./training.js')
  send(await trainFor(request, send))
} catch (error) {
  if (!(error instanceof Problem)) throw error
  send({ kind: 'failed', code: error.code, message: error.message.slice(0, 4_000) })
}
messages.end(() => process.exit(0))

/** Lowers the priority, and makes this process the first one to be killed when memory is short. */
function yieldToOthers(priority: number): void {
  // On Linux each thread has a priority of its own. New threads take that of the thread that starts them.
  const threads = tryTo(() => readdirSync('/proc/self/task').map(Number)) ?? [0]
  for (const thread of threads) tryTo(() => setPriority(thread, priority))
  // Where sessions are scheduled as groups, priorities count within a group only.
  tryTo(() => writeFileSync('/proc/self/autogroup', String(priority)))
  tryTo(() => writeFileSync('/proc/self/oom_score_adj', '1000'))
}

function tryTo<T>(action: () => T): T | undefined {
  try {
    return action()
  } catch {
    return undefined
  }
}
