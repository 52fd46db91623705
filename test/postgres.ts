// A real PostgreSQL server for the tests of one file, or a benchmark: a private cluster in a temporary directory, on a
// free port.

import { execFile } from 'node:child_process'
import { chownSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { temporaryDirectory } from './material.js'

const run = promisify(execFile)
const packages = '/usr/lib/postgresql'

/** Debian's folder of `initdb` and `pg_ctl`, of the newest version. */
function findBinaries(): string | undefined {
  const versions = existsSync(packages) ? readdirSync(packages).sort((a, b) => Number(b) - Number(a)) : []
  return versions.map((version) => join(packages, version, 'bin')).find((bin) => existsSync(join(bin, 'pg_ctl')))
}

const bin = findBinaries()

/** Why tests with a database cannot run here; false if they can. PROPETL_TEST_POSTGRES=1 asks for them. */
export const withoutPostgres: string | false =
  bin === undefined && process.env.PROPETL_TEST_POSTGRES === undefined
    ? `there is no PostgreSQL server in ${packages} (Debian's package postgresql has it)`
    : false

/** PostgreSQL refuses to run as root: then as this user, whom its Debian package makes. */
const user = process.getuid?.() === 0 ? userOf('postgres') : undefined

function userOf(name: string): { uid: number; gid: number } | undefined {
  const [, uid, gid] = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(readFileSync('/etc/passwd', 'utf8')) ?? []
  return uid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) }
}

const servers: PostgresServer[] = []
// When nothing else is to be done; unlike a hook of the test runner, this also works in a benchmark.
process.once('beforeExit', () => Promise.all(servers.map((server) => server.stop('immediate'))))

export class PostgresServer {
  /** What the environment of the server's processes has beside that of the tests, from the next start on. */
  env: Readonly<Record<string, string>> = {}

  private constructor(
    readonly data: string,
    readonly port: number,
  ) {}

  /** Makes a cluster and starts it; it is gone when the tests of the file are over. */
  static async start(): Promise<PostgresServer> {
    const directory = await temporaryDirectory()
    if (user) chownSync(directory, user.uid, user.gid)
    const server = new PostgresServer(join(directory, 'data'), await freePort())
    await server.#run('initdb', '-D', server.data, '-U', 'propetl', '-A', 'trust', '-E', 'UTF8', '--no-sync')
    await server.start()
    servers.push(server)
    return server
  }

  /** The address of a database of this server. */
  url(database = 'postgres', port = this.port): string {
    return `postgres://propetl@127.0.0.1:${port}/${database}`
  }

  /** Puts a file into the data directory that belongs to the server's user. */
  putFile(name: string, content: string | Buffer): void {
    const path = join(this.data, name)
    writeFileSync(path, content, { mode: 0o600 })
    if (user) chownSync(path, user.uid, user.gid)
  }

  /** Whether a text is in the server's log. */
  says(text: string): boolean {
    return readFileSync(`${this.data}/log`, 'utf8').includes(text)
  }

  async start(): Promise<void> {
    const options = `-p ${this.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''`
    await this.#run('pg_ctl', 'start', '-w', '-D', this.data, '-l', `${this.data}/log`, '-o', options)
  }

  async stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await this.#run('pg_ctl', 'stop', '-w', '-D', this.data, '-m', mode).catch(() => {})
  }

  /** Ends the server's main process as a crash would. */
  kill(): void {
    process.kill(Number(readFileSync(join(this.data, 'postmaster.pid'), 'utf8').split('\n')[0]), 'SIGKILL')
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

/** Runs statements as an administrator would. @returns the rows of the last one */
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
