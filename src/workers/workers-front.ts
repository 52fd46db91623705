// The server behind HTTP workers: the workers, and the application that serves what they pass on. It listens on a Unix socket in
// a directory that only this user can enter.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import type { Config } from '../config.js'
import { type AppOptions, buildApp } from '../http/app.js'
import { listeningLine } from '../http/listening.js'
import { InferenceHost } from '../inference/host.js'
import { Problem, reasonOf } from '../problem.js'
import { flagOf } from '../settings.js'
import type { Store } from '../store/store.js'
import { Workers, type WorkersOptions } from './workers.js'

interface FrontOptions extends Pick<WorkersOptions, 'count' | 'mayBeOpen' | 'writeLines'> {
  readonly store: Store
}

export class WorkersFront {
  private constructor(
    readonly app: FastifyInstance,
    readonly address: string,
    readonly workers: Workers,
    readonly directory: string,
  ) {}

  /**
   * Listens with workers, which pass all requests on until `workers.serve` is called.
   * @throws Problem `invalid_setting`; those of the first worker that does not start
   */
  static async open(
    options: AppOptions & { readonly config: Config; readonly logger: Logger },
    { store, ...front }: FrontOptions,
  ): Promise<WorkersFront> {
    const { config, costs, certificate, inference, lifecycle, logger, metrics } = options
    const directory = await privateDirectory()
    const appSocket = join(directory, 'http')
    const host = new InferenceHost(inference, {
      maskBytes: costs.shares.cache,
      waitMs: () => lifecycle.current?.dispatcher.estimatedWaitMs ?? 0,
    })
    const app = await buildApp({ ...options, origin: 'workers' })
    const workers = new Workers({
      ...front,
      appSocket,
      config,
      host,
      logger,
      certificate: certificate?.pair,
      onShadows: (counts) => lifecycle.current?.shadows.counts.add(...counts),
      processes: front.count + 1,
      store: store.sharedFile,
      onTexts: (collected, dropped) => lifecycle.current?.suggestions.receive(collected, dropped),
    })
    store.onSharedFile = () => workers.useStore(store.sharedFile)
    if (certificate) certificate.onReplaced = (pair) => workers.useCertificate(pair)
    try {
      await app.listen({ path: appSocket, listenTextResolver: () => 'starting the HTTP workers' }).catch(throwUnusable)
      const address = await workers.listen()
      logger.info(listeningLine(address))
      metrics.others = () => workers.snapshots()
      return new WorkersFront(app, address, workers, directory)
    } catch (error) {
      await app.close()
      await rm(directory, { recursive: true, force: true })
      throw error
    }
  }

  /** Has the workers finish accepted requests, and ends them. */
  async close(): Promise<void> {
    const { app, directory, workers } = this
    // Their last requests may need this process.
    await workers.stop()
    await app.close()
    await rm(directory, { recursive: true, force: true })
  }
}

/** A directory that only this user can enter. */
const privateDirectory = (): Promise<string> => mkdtemp(join(tmpdir(), 'propetl-')).catch(throwUnusable)

function throwUnusable(error: unknown): never {
  throw new Problem(
    'invalid_setting',
    `HTTP workers need a socket in the directory of temporary files, ${tmpdir()}, which cannot be used: ${reasonOf(error)}; ` +
      `set TMPDIR to another directory with a short path, or ${flagOf('httpWorkers')} to 1`,
  )
}
