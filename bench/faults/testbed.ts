// The testbed of a fault: servers, databases, links and disks. close() removes all of it.

import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { withoutPreload } from '../../test/native-faults/library.js'
import { StorageFaults } from '../../test/native-faults/storage-faults.js'
import { ThreadFaults } from '../../test/native-faults/thread-faults.js'
import { PostgresServer, sql, withoutPostgres } from '../../test/postgres.js'
import { TcpProxy } from '../../test/tcp-proxy.js'
import { type ServerOptions, ServerUnderTest } from './server.js'

/** A requirement that a machine may not meet. */
export type Need = 'preload' | 'postgres' | 'root'

/** Why this machine does not meet a requirement; false if it does. */
export const missingNeeds: Readonly<Record<Need, string | false>> = {
  preload: withoutPreload,
  postgres: withoutPostgres,
  root: process.getuid?.() === 0 ? false : 'only root can mount file systems and create namespaces',
}

export interface Database {
  readonly name: string
  readonly url: string
  readonly server: PostgresServer
  /** The address of the same database through a proxy. */
  urlThrough(proxy: TcpProxy): string
}

/** The PostgreSQL server of all faults that do not need their own. */
let shared: Promise<PostgresServer> | undefined
let databases = 0

export class Testbed {
  readonly #servers: ServerUnderTest[] = []
  readonly #cleanups: (() => unknown)[] = []
  #directories = 0

  private constructor(
    readonly root: string,
    /** Reports the progress of a long fault. */
    readonly log: (progress: string) => void,
  ) {}

  static async open(log: (progress: string) => void = () => {}): Promise<Testbed> {
    return new Testbed(await mkdtemp(join(tmpdir(), 'propetl-faults-')), log)
  }

  async close(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.kill()))
    for (const clean of this.#cleanups.reverse()) await clean()
    await rm(this.root, { recursive: true, force: true })
  }

  /** Creates an empty directory. */
  async directory(): Promise<string> {
    const directory = join(this.root, `d${this.#directories++}`)
    await mkdir(directory)
    return directory
  }

  /** Mounts a small file system. @returns its directory */
  async disk(options: string): Promise<string> {
    const directory = await this.directory()
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory])
    this.#cleanups.push(() => execFileSync('umount', ['--lazy', directory]))
    return directory
  }

  /** Starts a server and does not wait for it. */
  launch(options: ServerOptions): ServerUnderTest {
    const server = new ServerUnderTest(options)
    this.#servers.push(server)
    return server
  }

  /** Starts a server and waits until it is ready. Creates a data directory unless one is given. */
  async server(options: Partial<ServerOptions> = {}): Promise<ServerUnderTest> {
    return this.launch({ dataDir: options.dataDir ?? (await this.directory()), ...options }).ready()
  }

  /** Creates a database. */
  async database(): Promise<Database> {
    shared ??= PostgresServer.start()
    const name = `faults_${databases++}`
    const server = await shared
    await sql(server.url(), `create database ${name}`)
    return databaseOf(server, name)
  }

  /** Creates a database on its own PostgreSQL server. */
  async ownDatabase(): Promise<Database> {
    const server = await PostgresServer.start()
    this.#cleanups.push(() => server.stop('immediate'))
    return databaseOf(server, 'postgres')
  }

  /** Starts a replica and waits until it is ready. Creates a directory for its mirror unless one is given. */
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

  /** Registers a function that close() calls. */
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
