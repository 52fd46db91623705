// The configuration of a server: reads and checks the values of all settings from flags, the environment and a file.

import { readFileSync } from 'node:fs'
import { Problem } from './problem.js'
import {
  environmentVariableOf,
  flagOf,
  minSecretLength,
  type SettingKind,
  type SettingName,
  type SettingValue,
  settingNames,
  settings,
} from './settings.js'

export type Config = { readonly [Name in SettingName]: (typeof settings)[Name]['value'] }

/** Values by name, as text. */
type Given = Readonly<Partial<Record<string, string>>>

/**
 * The configuration of a server, from flags, the environment and the settings file that they name.
 * @throws Problem `invalid_setting`, also if the file cannot be read or has a line that is not a setting
 */
export function loadConfig(flags: Given, environment: Given): Config {
  const path = flags.settingsFile ?? environment[environmentVariableOf('settingsFile')]
  return readConfig(flags, path === undefined ? environment : { ...readSettingsFile(path), ...environment })
}

/** Lines of the form `NAME=value` or `NAME="value"`. Empty lines and lines that begin with # are ignored. */
function readSettingsFile(path: string): Given {
  const entries = linesOf(path).flatMap((line, at) => {
    if (/^\s*(#|$)/.test(line)) return []
    const [, name = '', quoted, bare = ''] = /^\s*(?:export\s+)?(\w+)\s*=\s*(?:(["'].*["'])|(.*?))\s*$/.exec(line) ?? []
    if (!namesInFile.has(name))
      throw new Problem('invalid_setting', `${path}, line ${at + 1}: expected a setting like PROPETL_LOG_LEVEL=debug`)
    return [[name, quoted?.slice(1, -1) ?? bare]]
  })
  return Object.fromEntries(entries)
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n')
  } catch (error) {
    throw new Problem('invalid_setting', `the settings file ${path} cannot be read: ${(error as Error).message}`)
  }
}

/** A settings file cannot name another one. */
const namesInFile: ReadonlySet<string> = new Set(
  settingNames.filter((name) => name !== 'settingsFile').map(environmentVariableOf),
)

/**
 * The configuration. A flag takes precedence over an environment variable, and both over the default.
 * @param flags values of the command line
 * @throws Problem `invalid_setting` that names the setting and the source of its value
 */
export function readConfig(flags: Given, environment: Given): Config {
  const values = settingNames.map((name) => {
    const variable = environmentVariableOf(name)
    const [source, given] =
      flags[name] !== undefined ? [flagOf(name), flags[name]] : ([variable, environment[variable]] as const)
    return [name, given === undefined ? settings[name].value : parse(settings[name].kind, given, source)]
  })
  const config = Object.fromEntries(values) as Config
  if (config.maxInputs > config.maxQueueRows)
    throw new Problem(
      'invalid_setting',
      `${flagOf('maxInputs')} is ${config.maxInputs}; expected at most ${flagOf('maxQueueRows')} = ${config.maxQueueRows}, because a larger request could never be accepted`,
    )
  if (config.headersTimeoutMs > config.receiveTimeoutMs)
    throw new Problem(
      'invalid_setting',
      `${flagOf('headersTimeoutMs')} is ${config.headersTimeoutMs}; expected at most ${flagOf('receiveTimeoutMs')} = ${config.receiveTimeoutMs}, because headers are part of the request`,
    )
  if ((config.tlsCert === undefined) !== (config.tlsKey === undefined))
    throw new Problem(
      'invalid_setting',
      `${flagOf('tlsCert')} and ${flagOf('tlsKey')} must be given together; only one is set`,
    )
  return config
}

function parse(kind: SettingKind, given: string, source: string): SettingValue {
  const throwInvalid = (expected: string): never => {
    throw new Problem('invalid_setting', `${source} is ${JSON.stringify(given)}; expected ${expected}`)
  }
  switch (kind.kind) {
    case 'secret':
      // The message is logged, so it must not quote the value.
      if (secret.test(given)) return given
      throw new Problem(
        'invalid_setting',
        `${source} has ${given.length} characters; expected ${minSecretLength} or more, ASCII without spaces`,
      )
    case 'switch':
      return given === 'true' || given === 'false' ? given === 'true' : throwInvalid('true | false')
    case 'origins': {
      const origins = given.split(',').map((origin) => origin.trim())
      return origins.every(isOrigin)
        ? origins
        : throwInvalid('origins like https://app.example.com, separated by commas')
    }
    case 'change':
      return changePattern.test(given) ? given : throwInvalid('the accept_history of the log, like "number:mark"')
    case 'text':
      return given === '' ? throwInvalid('a non-empty value') : given
    case 'address':
      if (kind.protocols.some((protocol) => given.startsWith(`${protocol}//`)) && URL.canParse(given)) return given
      throw new Problem('invalid_setting', `${source} is not a URL that begins with ${kind.protocols[0]}//`)
    case 'choice':
      return kind.choices.includes(given) ? given : throwInvalid(kind.choices.join(' | '))
    case 'whole': {
      if (source.startsWith('PROPETL_') && isServiceLink(given)) throwServiceLink(given, source)
      if (kind.auto && given === 'auto') return given
      const value = /^\d+$/.test(given) ? Number(given) : Number.NaN
      return value >= kind.min && value <= kind.max
        ? value
        : throwInvalid(`${kind.auto ? 'auto, or ' : ''}a whole number from ${kind.min} to ${kind.max}`)
    }
  }
}

/** The form in which Kubernetes writes the address of a Service. */
const isServiceLink = (given: string): boolean => /^(tcp|udp|sctp):\/\//.test(given)

/** A Service called "propetl" sets PROPETL_PORT in every pod of its namespace, unless the pod sets it itself. */
function throwServiceLink(given: string, source: string): never {
  throw new Problem(
    'invalid_setting',
    `${source} is ${JSON.stringify(given)}; expected a whole number. Kubernetes sets this variable for a Service called "propetl" ` +
      `(service links): set "enableServiceLinks: false" in the pod's spec, or set ${source} to a number there.`,
  )
}

const changePattern = /^\d{1,15}:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

const secret = new RegExp(`^[!-~]{${minSecretLength},}$`)

/** As browsers send them: scheme, host, and a port unless it is the scheme's default; no path. */
const isOrigin = (text: string): boolean => URL.canParse(text) && new URL(text).origin === text

/** Variables of the commands that are not settings of the server. */
const otherVariables: ReadonlySet<string> = new Set(['PROPETL_KEY'])
/** Variables of the tests, and those that Kubernetes sets in each pod of a namespace with a Service called "propetl". */
const notSettings = /^PROPETL_(TEST_\w+|SERVICE_(HOST|PORT\w*)|PORT(_\w+)?)$/

/** Environment variables that look like settings but are not, such as misspelt ones. */
export function unknownVariables(environment: Given): string[] {
  const known = new Set([...settingNames.map(environmentVariableOf), ...otherVariables])
  return Object.keys(environment).filter(
    (name) => name.startsWith('PROPETL_') && !known.has(name) && !notSettings.test(name),
  )
}
