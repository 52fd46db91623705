// Every setting of `propetl serve`, once. Flags, environment variables, help, docs/settings.md and the checks of values are
// all derived from this table. config.ts reads the values.

import { fileURLToPath } from 'node:url'
import { bundledModelDir, inPackage } from './package.js'
import { numerics } from './runtime/numerics.js'
import { providerNames } from './runtime/providers.js'
import { restrictedNumerics } from './runtime/restricted-numerics.js'

export type SettingKind =
  | { readonly kind: 'text' }
  | { readonly kind: 'address'; readonly protocols: readonly string[] }
  /** Only an environment variable: every user of the machine can see command lines. */
  | { readonly kind: 'secret' }
  /** A flag without a value on the command line. */
  | { readonly kind: 'switch' }
  /** A change in the database, as "number:mark". */
  | { readonly kind: 'change' }
  /** Origins of web pages, as browsers send them. */
  | { readonly kind: 'origins' }
  | { readonly kind: 'choice'; readonly choices: readonly string[] }
  | { readonly kind: 'whole'; readonly min: number; readonly max: number; readonly auto: boolean }

/** Headings of the settings in `serve --help`, in this order. */
export const settingGroups = [
  'Network',
  'Model and engines',
  'Storage',
  'Capacity',
  'Learning',
  'Security',
  'Timeouts',
  'Logging and operation',
] as const
export type SettingGroup = (typeof settingGroups)[number]

export type SettingValue = string | number | boolean | undefined | readonly string[]

export interface SettingOf<T extends SettingValue> {
  readonly group: SettingGroup
  readonly kind: SettingKind
  readonly value: T
  /** The default as people read it, where the value itself would not tell them. */
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
/** A URL that may contain a password, so it is never shown. */
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
/** A whole number, or `auto`. */
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

/** Path of an optional file. */
const file = (group: SettingGroup, meaning: string): SettingOf<string | undefined> => ({
  group,
  kind: { kind: 'text' },
  value: undefined,
  meaning,
  shown: 'none',
})

/** Characters of an operator's key that is chosen elsewhere. */
export const minSecretLength = 32

const MiB = 1024 * 1024

export const settings = {
  host: text(
    'Network',
    '127.0.0.1',
    'Address to listen on. Any address except loopback requires API keys or `--insecure`.',
  ),
  port: whole('Network', 8080, [0, 65_535], 'TCP port to listen on; 0 chooses a free port and logs it.'),
  httpWorkers: wholeOrAuto(
    'Network',
    [1, 64],
    'Number of processes that serve HTTP. They read requests, tokenise texts and write responses; one further process runs the engines. With 1, a single process does everything. `auto` is 1, except beside a GPU on a machine with 8 or more cores, where it is two fifths of the cores.',
  ),
  modelDir: text(
    'Model and engines',
    bundledModelDir,
    'Hugging Face directory of the backbone, or its name on the Hugging Face Hub, like `intfloat/e5-small-v2` or `intfloat/e5-small-v2@main`. A directory of that path takes precedence.',
    'the bundled all-MiniLM-L6-v2',
  ),
  prototype: file(
    'Model and engines',
    'Prototype file, if it is not `prototype.safetensors` in the directory of the backbone.',
  ),
  masksDir: text(
    'Model and engines',
    fileURLToPath(inPackage('masks')),
    "Directory of task files to serve read-only; the file's name is the task's id.",
    'the bundled masks',
  ),
  dataDir: text(
    'Storage',
    'data',
    'Directory to store uploaded tasks, tenants and keys in; it is created if it does not exist.',
  ),
  databaseUrl: address(
    'Storage',
    ['postgres:', 'postgresql:'],
    'PostgreSQL database in which replicas share their uploads; `--data-dir` then holds a mirror of it. ' +
      'Prefer the variable to the flag, because the URL usually contains a password.',
  ),
  acceptHistory: {
    group: 'Storage',
    kind: { kind: 'change' },
    value: undefined,
    meaning:
      'Follow a database that lacks changes which the mirror of this replica holds. The value is the `accept_history` of ' +
      'the log. Changes that only the mirror holds are lost. It takes effect once for each mirror.',
    shown: 'none',
  } as SettingOf<string | undefined>,
  provider: choice(
    'Model and engines',
    'auto',
    ['auto', ...providerNames],
    'Execution provider of onnxruntime; `auto` chooses the best one that loads.',
  ),
  numerics: choice(
    'Model and engines',
    'auto',
    ['auto', ...numerics],
    `Number format of the computation. ${restrictedNumerics()}. \`auto\` is float16 where that runs, if a check at start ` +
      'finds it close enough to float32, and float32 otherwise.',
  ),
  threads: whole(
    'Model and engines',
    0,
    [0, 1024],
    'CPU threads for computation, of all engines together; 0 is one for each core.',
  ),
  engines: wholeOrAuto(
    'Model and engines',
    [1, 256],
    'Number of engines. Each has its own bank and an equal share of the threads. `auto` is one for each thread on the CPU, at most four, and one on a GPU.',
  ),
  engineTimeoutMs: whole(
    'Timeouts',
    30_000,
    [1, 3_600_000],
    'Longest time that a batch may run, in milliseconds. After it, the engine is abandoned and replaced.',
  ),
  engineStartTimeoutMs: whole(
    'Timeouts',
    120_000,
    [1, 3_600_000],
    'Longest time that an engine may take to start, in milliseconds. After it, the server does not start, or tries again to replace a lost engine. The server exits if it has had no engine for this long because abandoned threads leave no room for one.',
  ),
  slots: whole(
    'Model and engines',
    256,
    [1, 65_536],
    'Number of masks that the bank holds, and so the most tasks in one batch.',
  ),
  maxBatchTokens: wholeOrAuto(
    'Capacity',
    [1, 1_048_576],
    'Most tokens of a batch; a longer text runs alone. `auto` allows T tokens for each task in the batch and 8·T in total, where T is the smallest batch within 10 % of peak throughput, measured at start.',
  ),
  maxTextTokens: whole(
    'Capacity',
    2048,
    [16, 1_000_000],
    'Most tokens of a text, if the model takes more. Longer texts are cut, or rejected if the request says so. The memory that attention needs grows with the square of this number: a model with 12 heads needs about 0.4 GB for 2,048 tokens and 6.4 GB for 8,192.',
  ),
  maxQueueRows: whole(
    'Capacity',
    8192,
    [1, 1_000_000],
    'Most texts that may wait for the engine; further requests get 429. One task alone can use about a third of it.',
  ),
  requestTimeoutMs: whole(
    'Timeouts',
    30_000,
    [1, 3_600_000],
    'Longest time for a response, in milliseconds. A request that would take longer is rejected with 429. A client may ask for less.',
  ),
  versions: whole(
    'Capacity',
    10,
    [1, 100],
    'Versions of a task that are kept, with the active one and the candidate. The oldest one is removed when another is added.',
  ),
  maxInputs: whole('Capacity', 256, [1, 1_000_000], 'Most texts in one request.'),
  maxBodyBytes: whole('Capacity', MiB, [1, 1024 * MiB], 'Largest body of a JSON request, in bytes.'),
  maxUploadBytes: whole('Capacity', 16 * MiB, [1, 1024 * MiB], 'Largest uploaded task file, in bytes.'),
  maxExamplesBytes: whole(
    'Capacity',
    256 * MiB,
    [1024, 64 * 1024 * MiB],
    'Largest file of examples, in bytes. It is kept on the disk of `--data-dir` while it is received and read.',
  ),
  memoryBytes: wholeOrAuto(
    'Capacity',
    [64 * MiB, 1024 * 1024 * MiB],
    "Memory that the server may use with all of its processes, in bytes; the bounds of the cache and of requests are shares of it. `auto` is the container's limit, or all memory of the machine.",
  ),
  cacheBytes: wholeOrAuto(
    'Capacity',
    [MiB, 1024 * 1024 * MiB],
    'Size of the cache of recently used tasks, in bytes; `auto` is 1/16 of the memory, at most 1 GiB.',
  ),
  maxTaskBytes: whole(
    'Capacity',
    32 * MiB,
    [MiB, 1024 * 1024 * MiB],
    'Most memory of all tasks that one request names, in bytes; a single task is always accepted.',
  ),
  maxHeadMultiplyAdds: whole(
    'Capacity',
    500_000_000,
    [1_000_000, 1_000_000_000_000],
    "Most multiply-adds of the tasks' heads for all texts or words of one request.",
  ),
  maxAnswerBytes: whole(
    'Capacity',
    16 * MiB,
    [64 * 1024, 1024 * MiB],
    'Largest response, in bytes, as estimated before the work begins.',
  ),
  learningJobs: whole(
    'Learning',
    1,
    [0, 64],
    'Most jobs that train tasks at the same time, each in a process of its own; 0 switches learning off.',
  ),
  learningThreads: wholeOrAuto(
    'Learning',
    [1, 1024],
    'CPU threads of each job that trains a task. They run at a low priority (nice 10). `auto` is half of the cores, at least 1.',
  ),
  learningMemoryBytes: wholeOrAuto(
    'Learning',
    [64 * MiB, 1024 * 1024 * MiB],
    'Memory that each job which trains a task may use, in bytes; one that needs more fails. `auto` is 1/4 of the memory, or 1 GiB if the machine has at least 2 GiB, whichever is more, divided among the jobs that may run at the same time.',
  ),
  learningTimeBudgetS: whole(
    'Learning',
    300,
    [1, 86_400],
    'Most time that a job may train, in seconds; fewer epochs are planned if they would take longer. A request may ask for less.',
  ),
  learningExamples: whole(
    'Learning',
    20_000,
    [10, 10_000_000],
    'Most examples that a job learns from. Of a task with more, it takes a random sample. A request may ask for fewer.',
  ),
  operatorKey: {
    group: 'Security',
    kind: { kind: 'secret' },
    value: undefined,
    meaning: `An operator's key in addition to those in the data directory; at least ${minSecretLength} characters.`,
    shown: 'none',
  } as SettingOf<string | undefined>,
  insecure: {
    group: 'Security',
    kind: { kind: 'switch' },
    value: false,
    meaning:
      'Serve other machines, under any host name, without API keys. Everyone who can reach the server can then do everything.',
  } as SettingOf<boolean>,
  tlsCert: file(
    'Security',
    'Certificate chain (PEM file) to serve HTTPS with; it is reloaded when the file changes. Requires `--tls-key`.',
  ),
  tlsKey: file('Security', "The certificate's private key (PEM file, not encrypted)."),
  corsOrigins: {
    group: 'Network',
    kind: { kind: 'origins' },
    value: [],
    meaning: 'Origins whose web pages may call the server, separated by commas, like `https://app.example.com`.',
    shown: 'none',
  } as SettingOf<readonly string[]>,
  maxConnections: whole(
    'Capacity',
    4_096,
    [1, 1_000_000],
    'Most open connections. A further one replaces the one that has been idle longest; if none is idle, it is closed. HTTP workers have an equal share each.',
  ),
  maxHeaderBytes: whole('Capacity', 16 * 1024, [1024, MiB], "Most bytes of a request's line and headers together."),
  headersTimeoutMs: whole(
    'Timeouts',
    10_000,
    [1, 3_600_000],
    "Longest time for a request's headers to arrive, in milliseconds. After it, the response is 408.",
  ),
  receiveTimeoutMs: whole(
    'Timeouts',
    60_000,
    [1, 3_600_000],
    'Longest time for a whole request to arrive, in milliseconds. After it, the response is 408.',
  ),
  sendTimeoutMs: whole(
    'Timeouts',
    30_000,
    [1, 3_600_000],
    'Longest time in which a client reads nothing of a response, in milliseconds. After it, the connection is closed.',
  ),
  keepAliveTimeoutMs: whole(
    'Timeouts',
    72_000,
    [1, 3_600_000],
    'Longest time that an idle connection is kept open, in milliseconds. It must be longer than that of a proxy in front of the server.',
  ),
  metricsTenants: whole(
    'Logging and operation',
    100,
    [0, 10_000],
    'Most tenants with metrics of their own; further ones are counted together, as `other`.',
  ),
  settingsFile: file(
    'Logging and operation',
    'File of settings, one per line, like `PROPETL_LOG_LEVEL=debug`. Flags and environment variables take precedence. It is read at start and again on SIGHUP.',
  ),
  logLevel: choice(
    'Logging and operation',
    'info',
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    'Least severe log lines to write. Set in the settings file, it can be changed while the server runs.',
  ),
  shutdownTimeoutMs: whole(
    'Timeouts',
    10_000,
    [1, 3_600_000],
    'Longest time for accepted requests to finish after SIGTERM, in milliseconds.',
  ),
} as const

export type SettingName = keyof typeof settings

export const settingNames = Object.keys(settings) as SettingName[]

const words = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
/** A name in camel case as a flag. */
export const flagOf = (name: string): string => `--${words(name)}`
export const environmentVariableOf = (name: SettingName): string =>
  `PROPETL_${words(name).replaceAll('-', '_').toUpperCase()}`

/** The default as people read it. */
export function shownDefault(name: SettingName): string {
  const setting: SettingOf<SettingValue> = settings[name]
  return setting.shown ?? String(setting.value)
}
