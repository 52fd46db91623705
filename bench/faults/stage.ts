// What faults happen to: servers, databases, links, disks. All of it is gone when the fault is over.

import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { withoutPreload } from '../../test/native-faults/library.js'
import { StorageFaults } from '../../test/native-faults/storage-faults.js'
import { ThreadFaults } from '../../test/native-faults/thread-faults.js'
import { PostgresServer, sql, withoutPostgres } from '../../test/postgres.js'
import { TcpProxy } from '../../test/tcp-proxy.js'
import type { Need } from './fault.js'
import { type ServerOptions, ServerUnderTest } from './server.js'

/** Why a fault cannot be caused here; false if it can. */
export const lacks: Readonly<Record<Need, string | false>> = {
  preload: withoutPreload,
  postgres: withoutPostgres,
  root: process.getuid?.() === 0 ? false : 'only root may mount file systems and make namespaces',
}

export interface Database {
  readonly name: string
  readonly url: string
  readonly server: PostgresServer
  /** The same database by way of another port of this machine. */
  urlThrough(proxy: TcpProxy): string
}

/** One for all faults that do not need one of their own. */
let shared: Promise<PostgresServer> | undefined
let databases = 0

export class Stage {
  readonly #servers: ServerUnderTest[] = []
  readonly #cleanups: (() => unknown)[] = []
  #directories = 0

  private constructor(
    readonly root: string,
    /** Tells how far a fault that takes long has come. */
    readonly say: (progress: string) => void,
  ) {}

  static async open(say: (progress: string) => void = () => {}): Promise<Stage> {
    return new Stage(await mkdtemp(join(tmpdir(), 'propetl-faults-')), say)
  }

  async close(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.kill()))
    for (const clean of this.#cleanups.reverse()) await clean()
    await rm(this.root, { recursive: true, force: true })
  }

  /** An empty directory. */
  async directory(): Promise<string> {
    const directory = join(this.root, `d${this.#directories++}`)
    await mkdir(directory)
    return directory
  }

  /** A file system of its own with little room. */
  async disk(options: string): Promise<string> {
    const directory = await this.directory()
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory])
    this.#cleanups.push(() => execFileSync('umount', ['--lazy', directory]))
    return directory
  }

  /** A server that starts. */
  launch(options: ServerOptions): ServerUnderTest {
    const server = new ServerUnderTest(options)
    this.#servers.push(server)
    return server
  }

  /** A server that is ready, in a data directory of its own unless one is given. */
  async server(options: Partial<ServerOptions> = {}): Promise<ServerUnderTest> {
    return this.launch({ dataDir: options.dataDir ?? (await this.directory()), ...options }).ready()
  }

  /** A new database. */
  async database(): Promise<Database> {
    shared ??= PostgresServer.start()
    const name = `faults_${databases++}`
    const server = await shared
    await sql(server.url(), `create database ${name}`)
    return databaseOf(server, name)
  }

  /** A new database on a server of its own. */
  async ownDatabase(): Promise<Database> {
    const server = await PostgresServer.start()
    this.#cleanups.push(() => server.stop('immediate'))
    return databaseOf(server, 'postgres')
  }

  /** A replica whose mirror is in a directory of its own unless one is given. */
  replica(url: string, options: Partial<ServerOptions> = {}): Promise<ServerUnderTest> {
    return this.server({ ...options, env: { PROPETL_DATABASE_URL: url, ...options.env } })
  }

  async proxy(database: Database): Promise<TcpProxy> {
    const proxy = await TcpProxy.start(database.server.port)
    this.#cleanups.push(() => proxy.close())
    return proxy
  }

  async storageFaults(path: string): Promise<StorageFaults> {
    const faults = await StorageFaults.on(path)
    this.#cleanups.push(() => faults.close())
    return faults
  }

  async threadFaults(): Promise<ThreadFaults> {
    const faults = await ThreadFaults.create()
    this.#cleanups.push(() => faults.close())
    return faults
  }

  /** Called when the fault is over. */
  atEnd(clean: () => unknown): void {
    this.#cleanups.push(clean)
  }
}

const databaseOf = (server: PostgresServer, name: string): Database => ({
  name,
  server,
  url: server.url(name),
  urlThrough: ({ port }) => server.url(name, port),
})
