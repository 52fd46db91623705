// Every setting of `propetl serve`, once: the command's flags, the environment variables, the README's table and the
// checks are all made from this list.

import { fileURLToPath } from 'node:url'
import { Problem } from './problem.js'

type Kind =
  | { readonly kind: 'text' }
  | { readonly kind: 'choice'; readonly choices: readonly string[] }
  | { readonly kind: 'whole'; readonly min: number; readonly max: number; readonly auto: boolean }

interface SettingOf<T> {
  readonly kind: Kind
  readonly value: T
  /** How the default is shown where its value would say little. */
  readonly shown?: string
  readonly meaning: string
}

const text = (value: string, meaning: string, shown?: string): SettingOf<string> => ({
  kind: { kind: 'text' },
  value,
  meaning,
  ...(shown !== undefined && { shown }),
})
const whole = (value: number, [min, max]: readonly [number, number], meaning: string): SettingOf<number> => ({
  kind: { kind: 'whole', min, max, auto: false },
  value,
  meaning,
})
/** A whole number, unless it is left to the server. */
const wholeOrAuto = ([min, max]: readonly [number, number], meaning: string): SettingOf<number | 'auto'> => ({
  kind: { kind: 'whole', min, max, auto: true },
  value: 'auto',
  meaning,
})
const choice = <const C extends readonly string[]>(value: C[number], choices: C, meaning: string) => ({
  kind: { kind: 'choice', choices } as const,
  value: value as C[number],
  meaning,
})

const MiB = 1024 * 1024
/** A folder that comes with the package; the path holds for src/ as it is compiled, in dist/src/. */
const bundled = (folder: string) => fileURLToPath(new URL(`../../${folder}`, import.meta.url))

export const settings = {
  host: text('127.0.0.1', 'Address to listen on. There is no authentication: open it to trusted networks only.'),
  port: whole(8080, [0, 65_535], 'TCP port to listen on; 0 takes a free one and logs it.'),
  modelDir: text(
    bundled('models/all-MiniLM-L6-v2'),
    'Hugging Face directory of the backbone, with `prototype.safetensors` in it.',
    'the bundled all-MiniLM-L6-v2',
  ),
  masksDir: text(
    bundled('masks'),
    "Directory of task files served read-only; a file's name is its task's id.",
    'the bundled masks',
  ),
  dataDir: text('data', 'Directory that uploaded tasks are stored in; made if it is not there.'),
  provider: choice(
    'auto',
    ['auto', 'cpu', 'webgpu', 'cuda'],
    'Execution provider of onnxruntime; `auto` takes the best that really loads.',
  ),
  threads: whole(0, [0, 1024], 'Threads that compute on the CPU; 0 is one for each core.'),
  slots: whole(256, [1, 65_536], 'Tasks whose masks are in the bank at once, and so the most that one batch mixes.'),
  maxBatchTokens: wholeOrAuto(
    [1, 1_048_576],
    'Tokens of a batch; a longer text runs alone. `auto` takes the smallest batch that has about the best throughput, as measured at start.',
  ),
  maxQueueRows: whole(
    8192,
    [1, 1_000_000],
    'Texts that may wait for the engine; requests beyond are answered 429. One task alone gets at most a third of it.',
  ),
  requestTimeoutMs: whole(
    30_000,
    [1, 3_600_000],
    'How long a request may take to be answered, in milliseconds; one that would take longer is answered 429. A client may ask for less.',
  ),
  maxInputs: whole(256, [1, 1_000_000], 'Texts of one request.'),
  maxBodyBytes: whole(MiB, [1, 1024 * MiB], 'Body of a prediction request, in bytes.'),
  maxUploadBytes: whole(16 * MiB, [1, 1024 * MiB], 'Size of an uploaded task file, in bytes.'),
  cacheBytes: whole(64 * MiB, [MiB, 1024 * 1024 * MiB], 'Bound of the cache of tasks in use, in bytes.'),
  logLevel: choice(
    'info',
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    'Least severe log lines that are written.',
  ),
  shutdownTimeoutMs: whole(
    10_000,
    [1, 3_600_000],
    'After SIGTERM, how long accepted requests may take to finish, in milliseconds.',
  ),
} as const

export type SettingName = keyof typeof settings
export type Config = { readonly [Name in SettingName]: (typeof settings)[Name]['value'] }

export const settingNames = Object.keys(settings) as SettingName[]

const words = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
/** A name in camel case as a flag. */
export const flagOf = (name: string): string => `--${words(name)}`
export const environmentVariableOf = (name: SettingName): string =>
  `PROPETL_${words(name).replaceAll('-', '_').toUpperCase()}`

/** The default as people read it. */
export function shownDefault(name: SettingName): string {
  const setting: SettingOf<string | number> = settings[name]
  return setting.shown ?? String(setting.value)
}

/**
 * The configuration: a flag goes before an environment variable, and that before the default.
 * @param flags values given on the command line
 * @throws Problem `invalid_setting` that names the setting and where its value came from
 */
export function readConfig(
  flags: Readonly<Partial<Record<string, string>>>,
  environment: Readonly<Partial<Record<string, string>>>,
): Config {
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
  return config
}

function parse(kind: Kind, given: string, source: string): string | number {
  const refuse = (expected: string): never => {
    throw new Problem('invalid_setting', `${source} is ${JSON.stringify(given)}; expected ${expected}`)
  }
  switch (kind.kind) {
    case 'text':
      return given === '' ? refuse('a value that is not empty') : given
    case 'choice':
      return kind.choices.includes(given) ? given : refuse(kind.choices.join(' | '))
    case 'whole': {
      if (kind.auto && given === 'auto') return given
      const value = /^\d+$/.test(given) ? Number(given) : Number.NaN
      return value >= kind.min && value <= kind.max
        ? value
        : refuse(`${kind.auto ? 'auto, or ' : ''}a whole number from ${kind.min} to ${kind.max}`)
    }
  }
}

/** The README's table of settings, in Markdown. */
export function settingsTable(): string {
  const rows = settingNames.map((name) => {
    const { kind, meaning, shown }: SettingOf<string | number> = settings[name]
    const choices = kind.kind === 'choice' ? ` (${kind.choices.join(' \\| ')})` : ''
    const value = shown ?? `\`${settings[name].value}\`${choices}`
    return `| \`${flagOf(name)}\` | \`${environmentVariableOf(name)}\` | ${value} | ${meaning} |`
  })
  return ['| Flag | Environment variable | Default | Meaning |', '|---|---|---|---|', ...rows].join('\n')
}
