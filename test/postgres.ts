// A real PostgreSQL server for the tests of one file, or for a benchmark: a private cluster in a temporary directory,
// on a free port.

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { chownSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { temporaryDirectory } from './material.js'

const run = promisify(execFile)
const packages = '/usr/lib/postgresql'

/** The folder in which Debian installs `initdb` and `pg_ctl` of the newest version. */
function findBinaries(): string | undefined {
  const versions = existsSync(packages) ? readdirSync(packages).sort((a, b) => Number(b) - Number(a)) : []
  return versions.map((version) => join(packages, version, 'bin')).find((bin) => existsSync(join(bin, 'pg_ctl')))
}

const bin = findBinaries()

/** Why tests with a database are skipped here; false if they run. With PROPETL_TEST_POSTGRES=1 they fail instead. */
export const withoutPostgres: string | false =
  bin === undefined && process.env.PROPETL_TEST_POSTGRES === undefined
    ? `there is no PostgreSQL server in ${packages} (Debian's package postgresql has it)`
    : false

/** PostgreSQL does not run as root. Root runs it as this user, which the Debian package creates. */
const user = process.getuid?.() === 0 ? userOf('postgres') : undefined

function userOf(name: string): { uid: number; gid: number } | undefined {
  const [, uid, gid] = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(readFileSync('/etc/passwd', 'utf8')) ?? []
  return uid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) }
}

const servers: PostgresServer[] = []
// A hook of the test runner would not run in a benchmark.
process.once('beforeExit', () => Promise.all(servers.map((server) => server.stop('immediate'))))

/**
 * Waits for the end of its input, which comes when this process ends. Then stops a server and removes its directory.
 */
const watchdog = 'read _; kill -QUIT "$0"; while kill -0 "$0" 2>&-; do sleep 0.1; done; rm -rf "$1"'

export class PostgresServer {
  /**
   * Environment variables that the server's processes have in addition to those of the tests, from the next start on.
   */
  env: Readonly<Record<string, string>> = {}
  #watchdog: ChildProcess | undefined

  private constructor(
    readonly directory: string,
    readonly port: number,
  ) {}

  /** Creates a cluster and starts it. It stops when this process ends, even if the process is killed. */
  static async start(): Promise<PostgresServer> {
    const directory = await temporaryDirectory()
    if (user) chownSync(directory, user.uid, user.gid)
    const server = new PostgresServer(directory, await freePort())
    await server.#run('initdb', '-D', server.data, '-U', 'propetl', '-A', 'trust', '-E', 'UTF8', '--no-sync')
    await server.start()
    servers.push(server)
    return server
  }

  get data(): string {
    return join(this.directory, 'data')
  }

  /** The URL of a database of this server. */
  url(database = 'postgres', port = this.port): string {
    return `postgres://propetl@127.0.0.1:${port}/${database}`
  }

  /** Writes a file of the data directory, owned by the server's user. */
  putFile(name: string, content: string | Buffer): void {
    const path = join(this.data, name)
    writeFileSync(path, content, { mode: 0o600 })
    if (user) chownSync(path, user.uid, user.gid)
  }

  /** Whether the server's log contains a text. */
  hasLogged(text: string): boolean {
    return readFileSync(`${this.data}/log`, 'utf8').includes(text)
  }

  async start(): Promise<void> {
    const options = `-p ${this.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''`
    await this.#run('pg_ctl', 'start', '-w', '-D', this.data, '-l', `${this.data}/log`, '-o', options)
    this.#watch()
  }

  async stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    this.#watchdog?.kill()
    await this.#run('pg_ctl', 'stop', '-w', '-D', this.data, '-m', mode).catch(() => {})
  }

  /** Kills the server's main process. The server behaves as after a crash. */
  kill(): void {
    this.#watchdog?.kill()
    process.kill(this.#pid, 'SIGKILL')
  }

  get #pid(): number {
    return Number(readFileSync(join(this.data, 'postmaster.pid'), 'utf8').split('\n')[0])
  }

  #watch(): void {
    const args = ['-c', watchdog, `${this.#pid}`, this.directory]
    // In a process group of its own, so that a signal to the group of the tests does not end it first.
    this.#watchdog = spawn('sh', args, { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
    this.#watchdog.unref()
  }

  async #run(program: string, ...args: string[]): Promise<void> {
    if (bin === undefined) throw new Error(`there is no PostgreSQL server in ${packages}`)
    await run(join(bin, program), args, { ...user, cwd: '/', env: { ...process.env, ...this.env } })
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Runs statements on a connection of its own. @returns the rows of the last one */
export async function sql(url: string, ...statements: string[]): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    let rows: Record<string, unknown>[] = []
    for (const statement of statements) rows = (await client.query<Record<string, unknown>>(statement)).rows
    return rows
  } finally {
    await client.end()
  }
}
