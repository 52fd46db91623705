// The command that uploads a task file to a server on this machine.

import { basename, extname } from 'node:path'
import { type Config, loadConfig } from '../config.js'
import { Problem } from '../problem.js'
import { settings } from '../settings.js'
import { taskIdPattern } from '../tasks/registry.js'

/** Hosts at which a server on this machine is reached as localhost. */
const localHosts: ReadonlySet<string> = new Set(['127.0.0.1', '::1', '0.0.0.0', '::'])

/**
 * @param env the environment, with the settings of the server and, as PROPETL_KEY, an API key
 * @returns the command, and a sentence about what it assumes
 */
export function uploadCommand(file: string, env: NodeJS.ProcessEnv): readonly [command: string, assumption: string] {
  const { host, port, tlsCert } = serverConfig(env)
  const name = localHosts.has(host) ? 'localhost' : host.includes(':') ? `[${host}]` : host
  const address = `${name}:${port === 0 ? settings.port.value : port}`
  const url = `${tlsCert === undefined ? '' : 'https://'}${address}/tasks/${taskIdFor(file)}`
  const key = '-H "authorization: Bearer $PROPETL_KEY"'
  const hasKey = env.PROPETL_KEY !== undefined
  return [
    `curl -X PUT${hasKey ? ` ${key}` : ''} --data-binary ${shellWord(`@${file}`)} ${shellWord(url)}`,
    `(for a server at ${address}${hasKey ? '' : `; if it requires an API key, set PROPETL_KEY and add ${key}`})`,
  ]
}

/** The configuration that a server with this environment has; the default one if a variable is invalid. */
function serverConfig(env: NodeJS.ProcessEnv): Pick<Config, 'host' | 'port' | 'tlsCert'> {
  try {
    return loadConfig({}, env)
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    return loadConfig({}, {})
  }
}

/** The name of the file without its extension. Hyphens replace characters that a task id may not have. */
function taskIdFor(file: string): string {
  const name = basename(file, extname(file))
  if (new RegExp(taskIdPattern).test(name)) return name
  const id = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+/, '')
    .slice(0, 64)
    .replace(/-+$/, '')
  return id || 'task'
}

/** Quotes a text so that a shell reads it as one word. */
export const shellWord = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
