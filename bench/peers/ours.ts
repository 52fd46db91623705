// Our side of the comparison: a server in a process of its own, its tasks uploaded versions of the bundled ones, asked over
// HTTP.

import { join } from 'node:path'
import type { Numerics } from '../../src/runtime/execution-providers.js'
import { bundledTasks } from '../support/material.js'
import { LoadProcess, residentBytes, startServerProcess } from '../support/process.js'
import { registerTasks, taskId } from '../support/registered-tasks.js'
import { predictRequests } from '../support/requests.js'

import type { PeerText } from './protocol.js'

export class Ours {
  private constructor(
    readonly server: Awaited<ReturnType<typeof startServerProcess>>,
    readonly load: LoadProcess,
  ) {}

  static async start(directory: string, tasks: number, numerics: Numerics): Promise<Ours> {
    const dataDir = join(directory, `ours-${tasks}`)
    await registerTasks(dataDir, tasks, bundledTasks, () => {})
    return new Ours(await startServerProcess(dataDir, ['--numerics', numerics]), new LoadProcess())
  }

  get bytes(): number {
    return residentBytes(this.server.process.pid).all
  }

  ask(texts: readonly PeerText[], clients: number) {
    const requests = predictRequests(texts.map((text) => ({ ...text, task: taskId(text.task) })))
    return this.load.run({ url: this.server.url, clients, requests, amount: texts.length })
  }

  async stop(): Promise<void> {
    this.load.stop()
    await this.server.stop()
  }
}
