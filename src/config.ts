// Every setting of `propetl serve`, once: the command's flags, the environment variables, the README's table and the
// checks are all made from this list.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bundledModelDir, inPackage } from './package.js'
import { Problem } from './problem.js'

type Kind =
  | { readonly kind: 'text' }
  | { readonly kind: 'address'; readonly protocols: readonly string[] }
  /** Only ever an environment variable: command lines are for everybody on the machine to see. */
  | { readonly kind: 'secret' }
  /** Given without a value on the command line. */
  | { readonly kind: 'switch' }
  /** A change of the database: its number, ":" and its mark. */
  | { readonly kind: 'change' }
  /** Origins of web pages, as browsers write them. */
  | { readonly kind: 'origins' }
  | { readonly kind: 'choice'; readonly choices: readonly string[] }
  | { readonly kind: 'whole'; readonly min: number; readonly max: number; readonly auto: boolean }

/** Headings of the settings in `serve --help`, in this order. */
export const settingGroups = [
  'Network',
  'Model and engines',
  'Storage',
  'Capacity',
  'Security',
  'Timeouts',
  'Logging and operation',
] as const
export type SettingGroup = (typeof settingGroups)[number]

type Value = string | number | boolean | undefined | readonly string[]

interface SettingOf<T extends Value> {
  readonly group: SettingGroup
  readonly kind: Kind
  readonly value: T
  /** How the default is shown where its value would say little. */
  readonly shown?: string
  readonly meaning: string
}

const text = (group: SettingGroup, value: string, meaning: string, shown?: string): SettingOf<string> => ({
  group,
  kind: { kind: 'text' },
  value,
  meaning,
  ...(shown !== undefined && { shown }),
})
/** An address with a password in it, perhaps: it is never shown. */
const address = (group: SettingGroup, protocols: readonly string[], meaning: string): SettingOf<string> => ({
  group,
  kind: { kind: 'address', protocols },
  value: '',
  meaning,
  shown: 'none',
})
const whole = (
  group: SettingGroup,
  value: number,
  [min, max]: readonly [number, number],
  meaning: string,
): SettingOf<number> => ({
  group,
  kind: { kind: 'whole', min, max, auto: false },
  value,
  meaning,
})
/** A whole number, unless it is left to the server. */
const wholeOrAuto = (
  group: SettingGroup,
  [min, max]: readonly [number, number],
  meaning: string,
): SettingOf<number | 'auto'> => ({
  group,
  kind: { kind: 'whole', min, max, auto: true },
  value: 'auto',
  meaning,
})
const choice = <const C extends readonly string[]>(
  group: SettingGroup,
  value: C[number],
  choices: C,
  meaning: string,
) => ({
  group,
  kind: { kind: 'choice', choices } as const,
  value: value as C[number],
  meaning,
})

/** A file that is named, or none. */
const file = (group: SettingGroup, meaning: string): SettingOf<string | undefined> => ({
  group,
  kind: { kind: 'text' },
  value: undefined,
  meaning,
  shown: 'none',
})

/** Of an operator's key that is chosen elsewhere. */
const minSecretLength = 32

/** What a model can compute in. */
export const numerics = ['float32', 'float16', 'int8'] as const

const MiB = 1024 * 1024

export const settings = {
  host: text(
    'Network',
    '127.0.0.1',
    'Address to listen on. One that other machines reach asks for keys, or for `--insecure`.',
  ),
  port: whole('Network', 8080, [0, 65_535], 'TCP port to listen on; 0 takes a free one and logs it.'),
  modelDir: text(
    'Model and engines',
    bundledModelDir,
    'Hugging Face directory of the backbone, with `prototype.safetensors` in it.',
    'the bundled all-MiniLM-L6-v2',
  ),
  masksDir: text(
    'Model and engines',
    fileURLToPath(inPackage('masks')),
    "Directory of task files served read-only; a file's name is its task's id.",
    'the bundled masks',
  ),
  dataDir: text('Storage', 'data', 'Directory that uploaded tasks are stored in; made if it is not there.'),
  databaseUrl: address(
    'Storage',
    ['postgres:', 'postgresql:'],
    'PostgreSQL database that replicas share their uploads in; `--data-dir` then holds a mirror of it. ' +
      'It has a password in it: prefer the variable to the flag.',
  ),
  acceptHistory: {
    group: 'Storage',
    kind: { kind: 'change' },
    value: undefined,
    meaning:
      'Change of the database, as the log names it, whose history this replica follows although its mirror holds ' +
      'another one or more; it counts once for each mirror, whose changes are lost.',
    shown: 'none',
  } as SettingOf<string | undefined>,
  provider: choice(
    'Model and engines',
    'auto',
    ['auto', 'cpu', 'webgpu', 'cuda'],
    'Execution provider of onnxruntime; `auto` takes the best that really loads.',
  ),
  numerics: choice(
    'Model and engines',
    'auto',
    ['auto', ...numerics],
    'What the model computes in: single precision; half precision, which only CUDA computes; or eight-bit integers in ' +
      'dense layers, which only the CPU computes and which are a little less exact. `auto` is float16 on CUDA if it is ' +
      'found at start to differ little enough from float32, and float32 otherwise.',
  ),
  threads: whole(
    'Model and engines',
    0,
    [0, 1024],
    'Threads that compute on the CPU, of all engines together; 0 is one for each core.',
  ),
  engines: wholeOrAuto(
    'Model and engines',
    [1, 256],
    'Engines, each with a bank of its own and its share of the threads. `auto` is one for each thread on the CPU, at most four, and one on a GPU.',
  ),
  engineTimeoutMs: whole(
    'Timeouts',
    30_000,
    [1, 3_600_000],
    'How long a batch may run, in milliseconds; then its engine is given up and a new one takes its place.',
  ),
  engineStartTimeoutMs: whole(
    'Timeouts',
    120_000,
    [1, 3_600_000],
    'How long an engine may take to start, in milliseconds: the server then does not start, and an engine that was lost is tried again. A server ends if it has no engine for so long because threads that hang leave no room for one.',
  ),
  slots: whole(
    'Model and engines',
    256,
    [1, 65_536],
    'Tasks whose masks are in the bank at once, and so the most that one batch mixes.',
  ),
  maxBatchTokens: wholeOrAuto(
    'Capacity',
    [1, 1_048_576],
    'Tokens of a batch; a longer text runs alone. `auto` fills a batch of one task up to the smallest size that has about the best throughput, as measured at start, and one of several tasks up to eight times that.',
  ),
  maxQueueRows: whole(
    'Capacity',
    8192,
    [1, 1_000_000],
    'Texts that may wait for the engine; requests beyond are answered 429. One task alone gets at most a third of it.',
  ),
  requestTimeoutMs: whole(
    'Timeouts',
    30_000,
    [1, 3_600_000],
    'How long a request may take to be answered, in milliseconds; one that would take longer is answered 429. A client may ask for less.',
  ),
  maxInputs: whole('Capacity', 256, [1, 1_000_000], 'Texts of one request.'),
  maxBodyBytes: whole('Capacity', MiB, [1, 1024 * MiB], 'Body of a prediction request, in bytes.'),
  maxUploadBytes: whole('Capacity', 16 * MiB, [1, 1024 * MiB], 'Size of an uploaded task file, in bytes.'),
  memoryBytes: wholeOrAuto(
    'Capacity',
    [64 * MiB, 1024 * 1024 * MiB],
    "Memory that the process may take, in bytes; the cache and what requests hold are shares of it. `auto` is the container's limit, or all of the machine's memory.",
  ),
  cacheBytes: wholeOrAuto(
    'Capacity',
    [MiB, 1024 * 1024 * MiB],
    'Bound of the cache of tasks that were used lately, in bytes; `auto` is a sixteenth of the memory, at most 1 GiB.',
  ),
  maxTaskBytes: whole(
    'Capacity',
    32 * MiB,
    [MiB, 1024 * 1024 * MiB],
    'Memory of all tasks that one request names, in bytes; a single task is always taken.',
  ),
  maxHeadMultiplyAdds: whole(
    'Capacity',
    500_000_000,
    [1_000_000, 1_000_000_000_000],
    "Multiply-adds of the tasks' heads for all texts or words of one request.",
  ),
  maxAnswerBytes: whole(
    'Capacity',
    16 * MiB,
    [64 * 1024, 1024 * MiB],
    'Size of an answer, in bytes, as estimated before the work begins.',
  ),
  operatorKey: {
    group: 'Security',
    kind: { kind: 'secret' },
    value: undefined,
    meaning: `An operator's key beside those in the data directory, of ${minSecretLength} characters or more.`,
    shown: 'none',
  } as SettingOf<string | undefined>,
  insecure: {
    group: 'Security',
    kind: { kind: 'switch' },
    value: false,
    meaning:
      'Answer other machines, and under any name, without any key. Whoever reaches the server may then do everything.',
  } as SettingOf<boolean>,
  tlsCert: file(
    'Security',
    'Certificate chain in PEM to serve HTTPS with; taken anew when the file changes. Needs `--tls-key`.',
  ),
  tlsKey: file('Security', "The certificate's private key in PEM, not encrypted."),
  corsOrigins: {
    group: 'Network',
    kind: { kind: 'origins' },
    value: [],
    meaning: 'Origins whose web pages may call the server, separated by commas: `https://app.example.com`.',
    shown: 'none',
  } as SettingOf<readonly string[]>,
  maxConnections: whole('Capacity', 4_096, [1, 1_000_000], 'Connections at once; further ones are closed.'),
  maxHeaderBytes: whole('Capacity', 16 * 1024, [1024, MiB], "A request's line and headers together, in bytes."),
  headersTimeoutMs: whole(
    'Timeouts',
    10_000,
    [1, 3_600_000],
    "How long a request's headers may take to arrive, in milliseconds; then it is answered 408.",
  ),
  receiveTimeoutMs: whole(
    'Timeouts',
    60_000,
    [1, 3_600_000],
    'How long a whole request may take to arrive, in milliseconds; then it is answered 408.',
  ),
  sendTimeoutMs: whole(
    'Timeouts',
    30_000,
    [1, 3_600_000],
    'How long a client may take nothing more of an answer, in milliseconds; then its connection is closed.',
  ),
  keepAliveTimeoutMs: whole(
    'Timeouts',
    72_000,
    [1, 3_600_000],
    'How long an idle connection is kept, in milliseconds: longer than a proxy before the server keeps it.',
  ),
  metricsTenants: whole(
    'Logging and operation',
    100,
    [0, 10_000],
    'Tenants that have metrics of their own; further ones are counted together, as `other`.',
  ),
  settingsFile: file(
    'Logging and operation',
    'File of settings, a line each like `PROPETL_LOG_LEVEL=debug`; flags and variables go before them. Read at start, and again on SIGHUP.',
  ),
  logLevel: choice(
    'Logging and operation',
    'info',
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    'Least severe log lines that are written; in the settings file it can be changed while the server runs.',
  ),
  shutdownTimeoutMs: whole(
    'Timeouts',
    10_000,
    [1, 3_600_000],
    'After SIGTERM, how long accepted requests may take to finish, in milliseconds.',
  ),
} as const

export type SettingName = keyof typeof settings
export type Config = { readonly [Name in SettingName]: (typeof settings)[Name]['value'] }

/** Values by name, as text. */
type Given = Readonly<Partial<Record<string, string>>>

export const settingNames = Object.keys(settings) as SettingName[]

const words = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
/** A name in camel case as a flag. */
export const flagOf = (name: string): string => `--${words(name)}`
export const environmentVariableOf = (name: SettingName): string =>
  `PROPETL_${words(name).replaceAll('-', '_').toUpperCase()}`

/** The default as people read it. */
export function shownDefault(name: SettingName): string {
  const setting: SettingOf<Value> = settings[name]
  return setting.shown ?? String(setting.value)
}

/**
 * The configuration of a server: that of flags and environment, and of the settings file that they name.
 * @throws Problem `invalid_setting`, also for a file that cannot be read or has a line that is no setting
 */
export function loadConfig(flags: Given, environment: Given): Config {
  const path = flags.settingsFile ?? environment[environmentVariableOf('settingsFile')]
  return readConfig(flags, path === undefined ? environment : { ...readSettingsFile(path), ...environment })
}

/** What is written as `NAME=value`, the value perhaps in quotes. Empty lines and those with a # are passed over. */
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

/** A file does not name another one. */
const namesInFile: ReadonlySet<string> = new Set(
  settingNames.filter((name) => name !== 'settingsFile').map(environmentVariableOf),
)

/**
 * The configuration: a flag goes before an environment variable, and that before the default.
 * @param flags values given on the command line
 * @throws Problem `invalid_setting` that names the setting and where its value came from
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
      `${flagOf('maxInputs')} is ${config.maxInputs}, but only ${flagOf('maxQueueRows')} = ${config.maxQueueRows} texts may wait; such a request could never be taken`,
    )
  if (config.headersTimeoutMs > config.receiveTimeoutMs)
    throw new Problem(
      'invalid_setting',
      `${flagOf('headersTimeoutMs')} is ${config.headersTimeoutMs}; expected at most ${flagOf('receiveTimeoutMs')} = ${config.receiveTimeoutMs}, for headers are part of the request`,
    )
  if ((config.tlsCert === undefined) !== (config.tlsKey === undefined))
    throw new Problem('invalid_setting', `${flagOf('tlsCert')} and ${flagOf('tlsKey')} go together; only one is given`)
  return config
}

function parse(kind: Kind, given: string, source: string): Value {
  const refuse = (expected: string): never => {
    throw new Problem('invalid_setting', `${source} is ${JSON.stringify(given)}; expected ${expected}`)
  }
  switch (kind.kind) {
    case 'secret':
      // It is not told what it is, for this is logged.
      if (secret.test(given)) return given
      throw new Problem(
        'invalid_setting',
        `${source} has ${given.length} characters; expected ${minSecretLength} or more, ASCII without spaces`,
      )
    case 'switch':
      return given === 'true' || given === 'false' ? given === 'true' : refuse('true | false')
    case 'origins': {
      const origins = given.split(',').map((origin) => origin.trim())
      return origins.every(isOrigin) ? origins : refuse('origins like https://app.example.com, separated by commas')
    }
    case 'change':
      return changePattern.test(given) ? given : refuse('a change as the log names it, "number:mark"')
    case 'text':
      return given === '' ? refuse('a value that is not empty') : given
    case 'address':
      if (kind.protocols.some((protocol) => given.startsWith(`${protocol}//`)) && URL.canParse(given)) return given
      throw new Problem('invalid_setting', `${source} is not an address that begins with ${kind.protocols[0]}//`)
    case 'choice':
      return kind.choices.includes(given) ? given : refuse(kind.choices.join(' | '))
    case 'whole': {
      if (source.startsWith('PROPETL_') && isServiceLink(given)) refuseServiceLink(given, source)
      if (kind.auto && given === 'auto') return given
      const value = /^\d+$/.test(given) ? Number(given) : Number.NaN
      return value >= kind.min && value <= kind.max
        ? value
        : refuse(`${kind.auto ? 'auto, or ' : ''}a whole number from ${kind.min} to ${kind.max}`)
    }
  }
}

/** As Kubernetes writes where a Service is. */
const isServiceLink = (given: string): boolean => /^(tcp|udp|sctp):\/\//.test(given)

/** A Service called "propetl" sets PROPETL_PORT in each pod of its namespace, unless the pod sets it itself. */
function refuseServiceLink(given: string, source: string): never {
  throw new Problem(
    'invalid_setting',
    `${source} is ${JSON.stringify(given)}; expected a whole number. Kubernetes sets it so for a Service called "propetl" ` +
      `(service links): set "enableServiceLinks: false" in the pod's spec, or give ${source} a number there.`,
  )
}

const changePattern = /^\d{1,15}:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

const secret = new RegExp(`^[!-~]{${minSecretLength},}$`)

/** As browsers send them: scheme, host, a port that is not the scheme's own, and no path. */
const isOrigin = (text: string): boolean => URL.canParse(text) && new URL(text).origin === text

/** The README's table of settings, in Markdown. */
export function settingsTable(): string {
  const rows = settingNames.map((name) => {
    const { kind, meaning, shown }: SettingOf<Value> = settings[name]
    const choices = kind.kind === 'choice' ? ` (${kind.choices.join(' \\| ')})` : ''
    const value = shown ?? `\`${settings[name].value}\`${choices}`
    const flag = kind.kind === 'secret' ? '' : `\`${flagOf(name)}\` `
    return `| ${flag}| \`${environmentVariableOf(name)}\` | ${value} | ${meaning} |`
  })
  return ['| Flag | Environment variable | Default | Meaning |', '|---|---|---|---|', ...rows].join('\n')
}

/** Of a server and its commands, beside the settings. */
const otherVariables: ReadonlySet<string> = new Set(['PROPETL_KEY'])
/** What Kubernetes sets in each pod of a namespace with a Service called "propetl". */
const serviceLink = /^PROPETL_(SERVICE_(HOST|PORT\w*)|PORT(_\w+)?)$/

/** Variables of the environment that look like settings and are none, as misspelt ones do. */
export function unknownVariables(environment: Given): string[] {
  const known = new Set([...settingNames.map(environmentVariableOf), ...otherVariables])
  return Object.keys(environment).filter(
    (name) => name.startsWith('PROPETL_') && !known.has(name) && !serviceLink.test(name),
  )
}
