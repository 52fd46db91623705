// A script that runs in its own process and exchanges messages with this one. Load generators are such scripts, so that
// they do not use the event loop of the server or of the benchmark.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { ClosedLoopRequest, ClosedLoopResult } from './closed-loop.js'
import type { OpenLoopRequest, OpenLoopResult } from './open-loop.js'

export class ForkedScript<Request extends object, Result> {
  readonly #child: ChildProcess
  /** Rejects if the process exits before stop() is called. */
  readonly failed: Promise<never>

  constructor(script: URL, execArgv: readonly string[] = []) {
    this.#child = fork(fileURLToPath(script), { execArgv: [...execArgv] })
    this.failed = once(this.#child, 'exit').then(([code]) => {
      throw new Error(`${script.pathname} exited with code ${code}`)
    })
    // run() reports this error; the catch only prevents an unhandledRejection.
    this.failed.catch(() => {})
  }

  /** Sends a request and does not wait for a result. */
  start(request: Request): void {
    this.#child.send(request)
  }

  /** Sends a request and waits for its result. */
  async run(request: Request): Promise<Result> {
    const message = once(this.#child, 'message')
    this.start(request)
    const [result] = (await Promise.race([message, this.failed])) as [Result]
    return result
  }

  stop(): void {
    this.#child.kill()
  }
}

/** A closed-loop load; see closed-loop.ts. */
export class ClosedLoopProcess extends ForkedScript<ClosedLoopRequest, ClosedLoopResult> {
  constructor() {
    super(new URL('./closed-loop.js', import.meta.url))
  }

  /** @throws Error if a request failed */
  override async run(request: ClosedLoopRequest): Promise<ClosedLoopResult> {
    const result = await super.run(request)
    if (result.failed > 0)
      throw new Error(`${result.failed} of ${request.count} requests failed; the first: ${result.firstFailure}`)
    return result
  }
}

/** An open-loop load; see open-loop.ts. */
export class OpenLoopProcess extends ForkedScript<OpenLoopRequest, OpenLoopResult> {
  constructor() {
    super(new URL('./open-loop.js', import.meta.url))
  }
}
