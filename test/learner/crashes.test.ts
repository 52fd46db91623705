// What can happen to a learner, and what the server makes of it. Real learners are killed and stopped; programs that take
// their place send what no learner should send.

import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type LearnerProgram, learnerProgram, startLearner } from '../../src/learner/learner.js'
import type { LearnerEvent, LearnerRequest, LearnerResult } from '../../src/learner/messages.js'
import { root, temporaryDirectory } from '../material.js'
import { exampleRows, requestFor, toLines } from './material.js'

const request = await requestFor(toLines(exampleRows('tickets.csv')), { timeBudgetS: 60 })
const folder = await temporaryDirectory()
const run = promisify(execFile)
const never = new AbortController().signal
const usualPriority = { ...learnerProgram, priority: 0 }

/** Process ids of the children of a process that run a program. */
function childrenOf(parent: number, program: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        const [, ppid] = /^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
        return Number(ppid) === parent && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(program)
      } catch {
        return false
      }
    })
}

/** Whether a process exists that is more than an entry of the process table. */
const isAlive = (pid: number): boolean =>
  existsSync(`/proc/${pid}/status`) && !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))

/** Runs a learner, and acts on its process when it has sent its first events. */
async function actOn(
  act: (pid: number, abort: AbortController) => void,
  { program = usualPriority, ...changes }: Partial<LearnerRequest> & { readonly program?: LearnerProgram } = {},
): Promise<{ result: LearnerResult; pid: number }> {
  const abort = new AbortController()
  let pid = 0
  const onEvent = (event: LearnerEvent) => {
    if (event.kind !== 'phase' || pid !== 0) return
    pid = childrenOf(process.pid, program.path)[0] ?? 0
    assert.ok(pid > 0, 'there is no child')
    act(pid, abort)
  }
  const result = await startLearner({ ...request, ...changes }, onEvent, abort.signal, program)
  return { result, pid }
}

for (const signal of ['SIGKILL', 'SIGSEGV'] as const)
  test(`reports a crash if ${signal} ends the learner`, async () => {
    const { result } = await actOn((pid) => process.kill(pid, signal))
    assert.ok(result.kind === 'crashed')
    assert.match(result.message, new RegExp(signal))
  })

test('is cancelled at once, and leaves no process', async () => {
  let abortedAt = 0
  const { result, pid } = await actOn((pid, abort) => {
    // A stopped process does nothing of its own accord.
    process.kill(pid, 'SIGSTOP')
    abortedAt = performance.now()
    abort.abort()
  })
  assert.deepEqual(result, { kind: 'cancelled' })
  assert.ok(performance.now() - abortedAt < 5_000)
  assert.equal(isAlive(pid), false)
  assert.deepEqual(await startLearner(request, () => {}, AbortSignal.abort()), { kind: 'cancelled' })
})

test('kills a learner that uses too much memory, and says what to do', async () => {
  const { result } = await actOn(() => {}, { memoryBytes: 150 * 2 ** 20 })
  assert.ok(result.kind === 'out_of_memory')
  assert.match(result.message, /more memory than the 150 MiB .* fewer examples/)
})

test('runs at a low priority, in its own process group, without the variables of the server', async () => {
  process.env.PROPETL_DATABASE_URL = 'postgres://secret'
  after(() => delete process.env.PROPETL_DATABASE_URL)
  const found: { environment: string; priorities: string[]; group: string; oom: string }[] = []
  await actOn(
    (pid, abort) => {
      // Fields 5 and 19 of stat, of which the second one may contain spaces.
      const field = (path: string, at: number) => readFileSync(path, 'utf8').split(') ')[1]?.split(' ')[at - 3] ?? ''
      found.push({
        environment: readFileSync(`/proc/${pid}/environ`, 'utf8'),
        priorities: readdirSync(`/proc/${pid}/task`).map((thread) => field(`/proc/${pid}/task/${thread}/stat`, 19)),
        group: field(`/proc/${pid}/stat`, 5),
        oom: readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim(),
      })
      assert.equal(found[0]?.group, String(pid))
      abort.abort()
    },
    { program: learnerProgram },
  )
  assert.doesNotMatch(found[0]?.environment ?? 'PROPETL', /PROPETL|secret/)
  assert.deepEqual(new Set(found[0]?.priorities), new Set([String(learnerProgram.priority)]))
  assert.ok(learnerProgram.priority >= 10)
  assert.equal(found[0]?.oom, '1000')
})

test('a learner ends when the server is killed', async () => {
  const parent = join(folder, 'parent.mjs')
  const learner = JSON.stringify(join(root, 'build/src/learner/learner.js'))
  writeFileSync(
    parent,
    `import { learnerProgram, startLearner } from ${learner}
const program = { ...learnerProgram, priority: 0 }
await startLearner(${JSON.stringify(request)}, ({ kind }) => console.log(kind), new AbortController().signal, program)`,
  )
  const server = spawn(process.execPath, [parent], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(server.stdout, 'data')
  const [pid = 0] = childrenOf(server.pid ?? 0, 'learner/main.js')
  assert.ok(isAlive(pid))
  server.kill('SIGKILL')
  for (let waited = 0; isAlive(pid) && waited < 20_000; waited += 50) await delay(50)
  assert.equal(isAlive(pid), false)
})

/** Programs in place of a learner. */
const programs: Readonly<Record<string, { readonly code: string; readonly says: RegExp } & Partial<LearnerProgram>>> = {
  'sends no JSON': { code: "send('no JSON\\n'); await hang()", says: /sent a malformed message/ },
  'sends JSON of another shape': { code: 'send(\'{"kind":"done"}\\n\'); await hang()', says: /malformed/ },
  'sends an endless line': { code: "for (;;) send('a'.repeat(65536))", says: /malformed/ },
  'sends messages without end': {
    code: `for (;;) send('{"kind":"phase","phase":"head"}\\n'.repeat(100))`,
    says: /sent too many messages/,
  },
  'writes errors without end': {
    code: "for (let i = 0; i < 1000; i++) fs.writeSync(2, 'e'.repeat(65536)); process.exit(3)",
    says: /exited with code 3/,
  },
  'ends without a result': { code: '', says: /exited with code 0/ },
  'sends nothing': { code: 'await hang()', says: /did not start: it sent nothing for 2 s/, startMs: 2_000 },
  'sends nothing more': {
    code: `send('{"kind":"phase","phase":"head"}\\n'); await hang()`,
    says: /hung: it sent nothing for 3 s/,
    silenceMs: 3_000,
  },
}

for (const [what, { code, says, ...changes }] of Object.entries(programs))
  test(`reports a crash if the program ${what}`, async () => {
    const path = join(folder, `${what.replaceAll(' ', '-')}.mjs`)
    writeFileSync(
      path,
      `import fs from 'node:fs'
const send = (text) => { try { fs.writeSync(3, text) } catch (error) { if (error.code !== 'EAGAIN') throw error } }
const hang = () => new Promise(() => setInterval(() => {}, 1000))
${code}`,
    )
    const program = { path, priority: 0, startMs: 60_000, silenceMs: 60_000, ...changes }
    const result = await startLearner(request, () => {}, never, program)
    assert.ok(result.kind === 'crashed')
    assert.match(result.message, says)
    assert.ok(result.log.length <= 8_192)
  })

test('keeps a result of a program that does not exit', async () => {
  const path = join(folder, 'stays.mjs')
  writeFileSync(
    path,
    `import fs from 'node:fs'
fs.writeSync(3, '{"kind":"failed","code":"invalid_data","message":"no labels"}\\n')
setInterval(() => {}, 1000)`,
  )
  const program = { path, priority: 0, startMs: 60_000, silenceMs: 60_000 }
  assert.deepEqual(await startLearner(request, () => {}, never, program), {
    ...{ kind: 'failed', code: 'invalid_data', message: 'no labels' },
  })
})

test('reports a crash if there is no such program', async () => {
  const program = { path: join(folder, 'none.mjs'), priority: 0, startMs: 60_000, silenceMs: 60_000 }
  const result = await startLearner(request, () => {}, never, program)
  assert.ok(result.kind === 'crashed')
  assert.match(result.log, /none\.mjs/)
})

test('reports a crash if the system has no descriptors left for a child', async () => {
  const path = join(folder, 'exhausted.mjs')
  const learner = JSON.stringify(join(root, 'build/src/learner/learner.js'))
  writeFileSync(
    path,
    `import fs from 'node:fs'
import { startLearner } from ${learner}
try { for (;;) fs.openSync('/dev/null', 'r') } catch {}
const result = await startLearner(${JSON.stringify(request)}, () => {}, new AbortController().signal)
console.log(JSON.stringify(result))`,
  )
  const { stdout } = await run('sh', ['-c', 'ulimit -n 1000; exec "$0" "$1"', process.execPath, path])
  const { kind, message } = JSON.parse(stdout) as { kind: string; message: string }
  assert.equal(kind, 'crashed')
  assert.match(message, /could not be started/)
})

test('reports too little memory if the heap of the learner is full', async () => {
  const path = join(folder, 'heap.mjs')
  writeFileSync(path, 'const all = []; for (;;) all.push({ at: all.length })')
  const program = { path, priority: 0, startMs: 60_000, silenceMs: 60_000 }
  const result = await startLearner({ ...request, memoryBytes: 2 ** 28 }, () => {}, never, program)
  assert.equal(result.kind, 'out_of_memory')
})
