// Starts a learner and follows it: the server's side of the child process that trains a task. The child has a low
// priority, bounded memory and few variables of the environment. Whatever it does or sends, the server goes on.

import { type ChildProcess, spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { reasonOf } from '../problem.js'
import { afterRunning } from '../running-time.js'
import {
  type LearnerDone,
  type LearnerEvent,
  type LearnerFailure,
  type LearnerRequest,
  type LearnerResult,
  maxMessageBytes,
  messagesFd,
  readMessage,
  taskFileNames,
} from './messages.js'

/** How a learner is run. */
export interface LearnerProgram {
  /** A program in JavaScript. */
  readonly path: string
  /** As nice(1) has it, from 0 to 19, the lowest one. */
  readonly priority: number
  /** A learner that has sent nothing for this long after its start hangs, in milliseconds. */
  readonly startMs: number
  /** A learner that sends nothing for this long hangs, in milliseconds. */
  readonly silenceMs: number
}

export const learnerProgram: LearnerProgram = {
  path: fileURLToPath(new URL('./main.js', import.meta.url)),
  // A server that uses all cores leaves a learner some 5 % of them. At 19, it would get nearly nothing.
  priority: 10,
  // At a low priority on a busy machine, a start takes many times as long as on a free one.
  startMs: 120_000,
  silenceMs: 600_000,
}

/** Messages that a learner may send at once, and per second of its life. More are a fault. */
const messageBurst = 1_000
const messagesPerSecond = 100

/** How often the memory of a learner is read, in milliseconds. */
const memoryEveryMs = 250

/** Characters that are kept of what a learner writes to its standard error. */
const maxLog = 8_192

/** After its last message a learner has this long to exit, in milliseconds. */
const exitMs = 2_000

/**
 * Trains a task in a child process.
 * @param onEvent receives what happens before the end, in order
 * @param signal if aborted, the child is killed at once
 * @returns how it ended
 * @throws only what `onEvent` throws; the child has ended then
 */
export async function startLearner(
  request: LearnerRequest,
  onEvent: (event: LearnerEvent) => void,
  signal: AbortSignal,
  program: LearnerProgram = learnerProgram,
): Promise<LearnerResult> {
  if (signal.aborted) return { kind: 'cancelled' }
  let learner: LearnerProcess
  try {
    learner = new LearnerProcess(request, program)
  } catch (error) {
    return {
      kind: 'crashed',
      message: `the process that trains the task could not be started: ${reasonOf(error)}`,
      log: '',
    }
  }
  const onAbort = () => learner.kill({ kind: 'cancelled' })
  signal.addEventListener('abort', onAbort)
  try {
    return await learner.run(onEvent)
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

type Messages = Readable & AsyncIterable<Buffer>

class LearnerProcess {
  readonly #child: ChildProcess
  readonly #messages: Messages
  readonly #ended: Promise<string>
  #log = ''
  /** Its process id may belong to another process then. */
  #hasEnded = false
  /** What ended the learner, if this process did. */
  #killed: LearnerResult | undefined
  #cancelSilence = (): void => {}

  constructor(
    readonly request: LearnerRequest,
    readonly program: LearnerProgram,
  ) {
    const { data, memoryBytes, threads } = request
    const heapMiB = Math.min(Math.max(Math.floor(memoryBytes / 2 / 2 ** 20), leastHeapMiB), mostHeapMiB)
    this.#child = spawn(process.execPath, [`--max-old-space-size=${heapMiB}`, program.path, `${program.priority}`], {
      // Messages to users name the data file as the learner sees it.
      cwd: dirname(resolve(data)),
      env: learnerEnvironment(threads),
      // The request, errors, messages, and the lifeline.
      stdio: ['pipe', 'ignore', 'pipe', 'pipe', 'pipe'],
      // Its own process group, so that nothing of it is left when it is killed.
      detached: true,
    })
    this.#ended = new Promise((resolve) => {
      const end = (how: string) => {
        this.#hasEnded = true
        resolve(how)
      }
      this.#child.once('exit', () => {
        this.#hasEnded = true
      })
      this.#child.once('error', (error) => end(`it could not be started: ${error.message}`))
      this.#child.once('close', (code, by) => end(by === null ? `it exited with code ${code}` : killedBy(by)))
    })
    // Without free descriptors there are no streams.
    const streams: ChildProcess['stdio'] | undefined = this.#child.stdio
    for (const stream of streams ?? []) stream?.on('error', () => {})
    this.#messages = (streams?.[messagesFd] ?? Readable.from([])) as Messages
    this.#child.stderr?.on('data', (piece: Buffer) => {
      this.#log = `${this.#log}${piece}`.slice(-maxLog)
    })
    this.#child.stdin?.end(JSON.stringify(requestInFolderOfData(request)))
  }

  /** Kills the process and all that it started. @param result why */
  kill(result: LearnerResult): void {
    this.#killed ??= result
    const { pid } = this.#child
    if (pid === undefined || this.#hasEnded) return
    try {
      process.kill(-pid, 'SIGKILL')
    } catch {
      // It has ended already, or is not yet a group of its own.
      this.#child.kill('SIGKILL')
    }
  }

  async run(onEvent: (event: LearnerEvent) => void): Promise<LearnerResult> {
    const stopWatching = this.#watchMemory()
    this.#expectMessage(this.program.startMs, 'did not start')
    try {
      const last = await this.#follow(onEvent)
      this.#cancelSilence()
      const cancelExit = afterRunning(exitMs, () => this.kill(last ?? this.#crashed('did not exit')))
      const how = await this.#ended
      cancelExit()
      return this.#killed ?? last ?? this.#unexpectedEnd(how)
    } finally {
      stopWatching()
      this.#cancelSilence()
      this.kill({ kind: 'cancelled' })
      await this.#ended
    }
  }

  /** @returns the last message */
  async #follow(onEvent: (event: LearnerEvent) => void): Promise<LearnerDone | LearnerFailure | undefined> {
    const { out } = this.request
    const start = performance.now()
    let count = 0
    for await (const line of linesOf(this.#messages)) {
      const message = line === undefined ? undefined : readMessage(line)
      const most = messageBurst + (messagesPerSecond * (performance.now() - start)) / 1000
      if (message === undefined || ++count > most) {
        this.kill(this.#crashed(message === undefined ? 'sent a malformed message' : 'sent too many messages'))
        return undefined
      }
      this.#expectMessage(this.program.silenceMs, 'hung')
      if (this.#killed) return undefined
      if (message.kind === 'failed') return message
      if (message.kind === 'done') return { ...message, file: join(out, taskFileNames.done) }
      onEvent(message.kind === 'head' ? { ...message, file: join(out, taskFileNames.head) } : message)
    }
    return undefined
  }

  #expectMessage(ms: number, what: string): void {
    this.#cancelSilence()
    this.#cancelSilence = afterRunning(ms, () =>
      this.kill(this.#crashed(`${what}: it sent nothing for ${ms / 1000} s`)),
    )
  }

  #watchMemory(): () => void {
    const { pid } = this.#child
    const { memoryBytes } = this.request
    const timer = setInterval(async () => {
      if (pid !== undefined && (await memoryOf(pid)) > memoryBytes) this.kill(this.#outOfMemory())
    }, memoryEveryMs)
    return () => clearInterval(timer)
  }

  #unexpectedEnd(how: string): LearnerResult {
    return noMemory.test(this.#log) ? this.#outOfMemory() : this.#crashed(`ended: ${how}`)
  }

  #crashed(what: string): LearnerResult {
    return { kind: 'crashed', message: `the process that trains the task ${what}`, log: this.#log }
  }

  #outOfMemory(): LearnerResult {
    const megabytes = Math.round(this.request.memoryBytes / 2 ** 20)
    return {
      kind: 'out_of_memory',
      message:
        `training needs more memory than the ${megabytes} MiB that it may use; train on fewer examples or labels, or on ` +
        'shorter texts, or have the operator raise the limit',
      log: this.#log,
    }
  }
}

/** The request as the learner reads it, which runs in the folder of the data. */
function requestInFolderOfData(request: LearnerRequest): LearnerRequest {
  const { directory, prototypeFile, masksDir, data, newLines, active, out } = request
  return {
    ...request,
    directory: resolve(directory),
    masksDir: resolve(masksDir),
    data: basename(data),
    out: resolve(out),
    ...(prototypeFile !== undefined && { prototypeFile: resolve(prototypeFile) }),
    ...(newLines !== undefined && { newLines: resolve(newLines) }),
    ...(active !== undefined && { active: resolve(active) }),
  }
}

/** What V8, Node and onnxruntime write when they cannot allocate memory. */
const noMemory = /heap out of memory|Array buffer allocation failed|bad_alloc|Failed to allocate memory/

const killedBy = (signal: NodeJS.Signals): string =>
  `it was killed by ${signal}${signal === 'SIGKILL' ? ', as the system does when memory is short' : ''}`

/** Bounds of the JavaScript heap. Most memory of training is outside it. */
const leastHeapMiB = 128
const mostHeapMiB = 4_096

/** Variables that programs need to run at all. All others stay here: some of them may be secret. */
const inherited = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH'] as const

function learnerEnvironment(threads: number): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = {
    UV_THREADPOOL_SIZE: String(Math.max(2, threads)),
    RAYON_NUM_THREADS: String(threads),
    OMP_NUM_THREADS: String(threads),
  }
  for (const name of inherited) if (process.env[name] !== undefined) environment[name] = process.env[name]
  return environment
}

/** Memory of a process with what of it is swapped out, in bytes; 0 if it is not known. */
async function memoryOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  const kilobytes = (field: string) => Number(new RegExp(`^${field}:\\s*(\\d+) kB`, 'm').exec(status)?.[1] ?? 0)
  return 1024 * (kilobytes('VmRSS') + kilobytes('VmSwap'))
}

/** The lines of a stream, without an end that is no whole line. Undefined, at the end, for a line that is too long. */
async function* linesOf(stream: Messages): AsyncGenerator<string | undefined> {
  let rest: Buffer[] = []
  let length = 0
  for await (const piece of stream) {
    let from = 0
    for (let end = piece.indexOf(0x0a); end >= 0; end = piece.indexOf(0x0a, from)) {
      if (length + end - from > maxMessageBytes) return yield undefined
      yield Buffer.concat([...rest, piece.subarray(from, end)]).toString('utf8')
      rest = []
      length = 0
      from = end + 1
    }
    rest.push(piece.subarray(from))
    length += piece.length - from
    if (length > maxMessageBytes) return yield undefined
  }
}
