// Our side of the comparison: a server in its own process, whose tasks are uploaded versions of the bundled ones.

import { join } from 'node:path'
import type { Numerics } from '../../src/runtime/numerics.js'
import { ClosedLoopProcess } from '../support/forked-script.js'
import { bundledTasks } from '../support/material.js'
import { processMemory, startServerProcess } from '../support/process.js'
import { registerTasks, taskId } from '../support/registered-tasks.js'
import { predictRequests } from '../support/requests.js'
import type { PeerText } from './protocol.js'

export class OurServer {
  private constructor(
    readonly server: Awaited<ReturnType<typeof startServerProcess>>,
    readonly load: ClosedLoopProcess,
  ) {}

  static async start(directory: string, tasks: number, numerics: Numerics): Promise<OurServer> {
    const dataDir = join(directory, `our-server-${tasks}`)
    await registerTasks(dataDir, tasks, bundledTasks, () => {})
    return new OurServer(await startServerProcess(dataDir, ['--numerics', numerics]), new ClosedLoopProcess())
  }

  /** Resident memory. */
  get bytes(): number {
    return processMemory(this.server.process.pid).all
  }

  run(texts: readonly PeerText[], clients: number) {
    const requests = predictRequests(texts.map((text) => ({ ...text, task: taskId(text.task) })))
    return this.load.run({ url: this.server.url, clients, requests, count: texts.length })
  }

  async stop(): Promise<void> {
    this.load.stop()
    await this.server.stop()
  }
}
