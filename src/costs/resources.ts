// Every resource that a caller can use up: its limits, the settings that change them, who is charged, and the errors. This
// table generates the tables of SECURITY.md and docs/limits.md, and some of the errors.

import { Problem, type ProblemCode } from '../problem.js'
import { flagOf, type SettingName, shownDefault } from '../settings.js'

interface Resource {
  /** The resource, in words. */
  readonly what: string
  /** The limit of one request, upload or connection. */
  readonly perRequest: string
  /** The limit of everything that is in progress: per owner (a tenant, or the operator), and in total. */
  readonly inProgress: string
  /** What is charged for it: rate limits, turns at the engine, quotas. */
  readonly charged: string
  readonly settings: readonly SettingName[]
  /** Codes of the errors beyond the limits. A connection that is closed without a response has none. */
  readonly codes: readonly ProblemCode[]
}

/** Pools are divided by dynamic thresholds (pool.ts). */
const pooled = (share: string) => `${share} for all requests. An owner gets at most half of what is free`

export const resources = {
  connections: {
    what: 'Connections',
    perRequest: 'A connection runs one request at a time. At most 16 further requests wait on it',
    inProgress:
      '`--max-connections`, an equal share for each HTTP worker. A further connection replaces the one that has been idle longest',
    charged: '',
    settings: ['maxConnections', 'keepAliveTimeoutMs'],
    codes: ['invalid_request'],
  },
  headers: {
    what: 'Request line and headers: bytes, and time until they have arrived',
    perRequest: '`--max-header-bytes`, `--headers-timeout-ms`',
    inProgress: 'The limit of one request for each connection',
    charged: '',
    settings: ['maxHeaderBytes', 'headersTimeoutMs'],
    codes: ['headers_too_large', 'request_timeout'],
  },
  requests: {
    what: 'Requests',
    perRequest: '',
    inProgress:
      'While several owners are active, each turn of the event loop starts one request, and owners take turns. After a rejected request the owner pauses for 10 ms',
    charged: "The tenant's requests per second, before any other work",
    settings: [],
    codes: ['rate_limited'],
  },
  bodyBytes: {
    what: 'Request body: bytes, and time until it has arrived',
    perRequest: '`--max-body-bytes` for JSON, `--max-upload-bytes` for a task file, `--receive-timeout-ms`',
    inProgress: pooled('1/16 of the memory'),
    charged: "For a task file: the tenant's quota of bytes, before the body is read",
    settings: ['maxBodyBytes', 'maxUploadBytes', 'receiveTimeoutMs', 'memoryBytes'],
    codes: ['body_too_large', 'request_timeout', 'quota_exceeded', 'overloaded'],
  },
  jsonValues: {
    what: 'JSON body: number of values and depth, counted before it is parsed',
    perRequest: '5 · `--max-inputs` + 100 values; 8 levels. A large body is parsed in slices',
    inProgress: 'The limit of request bodies',
    charged: '',
    settings: ['maxInputs'],
    codes: ['too_many_inputs', 'invalid_request'],
  },
  rejectedBodies: {
    what: 'Body of a rejected request, which is read and discarded so that the client can read the response',
    perRequest: '64 MiB and 10 s; without an API key 1 MiB and 1 s. Then the connection is closed',
    inProgress: '64 MiB per second on all connections of a process. Nothing is kept in memory',
    charged: '',
    settings: [],
    codes: [],
  },
  inputs: {
    what: 'Texts',
    perRequest: '`--max-inputs`',
    inProgress:
      '`--max-queue-rows` waiting texts. An owner gets at most half of what is free, and so does a task of an owner',
    charged: '',
    settings: ['maxInputs', 'maxQueueRows'],
    codes: ['too_many_inputs', 'overloaded'],
  },
  taskBytes: {
    what: 'Tasks of a request: bytes in memory',
    perRequest: '`--max-task-bytes`. A single task is always allowed',
    inProgress: pooled('1/16 of the memory'),
    charged: '',
    settings: ['maxTaskBytes', 'memoryBytes'],
    codes: ['request_too_costly', 'overloaded'],
  },
  characters: {
    what: 'Characters to tokenise',
    perRequest:
      '32 characters per token of the task\'s maximum length. A longer text is cut there, or rejected with `"truncate": false`',
    inProgress:
      'As many as fit into 1/64 of the memory. An owner gets at most half. Further texts wait, and owners take turns',
    charged: 'Charged as tokens',
    settings: ['memoryBytes'],
    codes: ['text_too_long'],
  },
  tokens: {
    what: 'Tokens to compute',
    perRequest:
      "The task's maximum length for each text, at most that of the model, and what can be computed before the deadline of the request",
    inProgress:
      'What can be computed before the deadlines. While one tenant floods and others are active, a batch takes about 10 ms, but has at least a quarter of the tokens of an efficient batch',
    charged: "The tenant's tokens per second, and its turns at the engine. A rejected request is not charged",
    settings: ['requestTimeoutMs'],
    codes: ['rate_limited', 'overloaded', 'deadline_exceeded'],
  },
  multiplyAdds: {
    what: "Multiply-adds of the tasks' heads, for all texts or words of a request",
    perRequest: '`--max-head-multiply-adds`',
    inProgress: 'Computed in slices of 1 ms. Owners take turns',
    charged: '100,000 multiply-adds as one token',
    settings: ['maxHeadMultiplyAdds'],
    codes: ['request_too_costly'],
  },
  answerBytes: {
    what: 'Response: estimated bytes of the labels for each text or word, or of the vectors',
    perRequest: '`--max-answer-bytes`',
    inProgress: pooled('1/32 of the memory, but at least six times the largest response,'),
    charged: '250 values as one token',
    settings: ['maxAnswerBytes', 'memoryBytes'],
    codes: ['answer_too_large', 'overloaded'],
  },
  downloads: {
    what: 'Download of a task file: bytes, and time in which the client reads nothing',
    perRequest: 'The size of the file, `--send-timeout-ms`',
    inProgress: 'The limit of responses',
    charged: '',
    settings: ['sendTimeoutMs', 'memoryBytes'],
    codes: ['overloaded'],
  },
  shadows: {
    what: 'Copies of texts that a candidate predicts in the background',
    perRequest: 'The first 32 texts of a request, 1 s',
    inProgress:
      'In each process one request, at most a tenth of the time. They run only while no text waits, and are dropped otherwise',
    charged: "The tenant's tokens per second, while at least half of it is left",
    settings: [],
    codes: [],
  },
  taskFile: {
    what: 'Contents of a task file',
    perRequest:
      'Header: 4 MiB and 1,000 values. Labels: 100,000 of 1,000 characters each. Description: 10,000 characters. Metrics: 65,536 characters. The file is read in slices',
    inProgress: 'The limit of request bodies',
    charged: '',
    settings: [],
    codes: ['not_safetensors', 'invalid_task_file'],
  },
  exampleFiles: {
    what: 'Files of examples on the disk while they are received and read',
    perRequest: '`--max-examples-bytes`, and at most 1,000,000 examples',
    inProgress:
      'Four of the largest files; each counts as at least 1/64 of that. An owner gets at most half of what is free. 256 MiB of the disk stay free',
    charged: "The tenant's quotas of examples and bytes, before anything is stored",
    settings: ['maxExamplesBytes'],
    codes: ['body_too_large', 'overloaded', 'quota_exceeded'],
  },
  exampleReading: {
    what: 'Reading of a file of examples, in a thread of its own',
    perRequest:
      '1/32 of the memory for objects, at least 64 MiB and at most 384 MiB; 300 s, 256 KiB for an example, 16 Mi characters for a row',
    inProgress:
      'Two large files and four of at most 1 MiB. Others wait, and owners take turns; an owner gets at most half',
    charged: '',
    settings: [],
    codes: ['invalid_data'],
  },
  exampleList: {
    what: 'Examples and tasks that a filtered page looks at',
    perRequest: '20,000 examples, 16 MiB of them or 500 ms, and 4 MiB of a page; 10,000 tasks. Read in slices of 1 ms',
    inProgress: 'The limit of responses. Owners take turns',
    charged: '',
    settings: [],
    codes: ['overloaded'],
  },
  jobs: {
    what: 'Jobs that train tasks: number, time, threads, memory and examples',
    perRequest:
      '`--learning-time-budget-s`, `--learning-threads` at a low priority (nice 10), `--learning-memory-bytes`, `--learning-examples`',
    inProgress:
      '`--learning-jobs` run at the same time, and owners take turns. 100 jobs of an owner wait or run, and two of a task',
    charged:
      "For the versions that they make: the tenant's quota of bytes. The newest 100 jobs that have ended are kept without a charge",
    settings: ['learningJobs', 'learningTimeBudgetS', 'learningThreads', 'learningMemoryBytes', 'learningExamples'],
    codes: ['too_many_jobs', 'job_exists', 'quota_exceeded'],
  },
  eventStreams: {
    what: 'Streams of the events of jobs',
    perRequest: 'Four events per second, `--send-timeout-ms`. A slow client gets fewer',
    inProgress: '32 for each owner, 1,024 in all',
    charged: '',
    settings: ['sendTimeoutMs'],
    codes: ['too_many_streams'],
  },
  storage: {
    what: 'Stored tasks with their versions, examples, their bytes, and API keys',
    perRequest: 'A task keeps `--versions` versions. A report of a training has at most 256 KiB',
    inProgress: '',
    charged: "The tenant's quotas of tasks, examples and bytes; 100 keys per owner",
    settings: ['versions'],
    codes: ['quota_exceeded'],
  },
  keptTexts: {
    what: 'Texts of requests that a task keeps for suggestions, if its owner switched that on',
    perRequest:
      '8,192 bytes for a text with its pair, and 24,576 characters for its words and labels; longer ones are not kept',
    inProgress:
      '4 MiB that wait to be written, and 1 MiB in each HTTP worker. An owner gets at most half of what is free; further texts are dropped. At most 100 texts of a task are written every 2 s',
    charged: "2,000 texts per task, 90 days, the tenant's quota of bytes",
    settings: [],
    codes: [],
  },
  cache: {
    what: 'Cache of recently used tasks: bytes',
    perRequest: '',
    inProgress: '`--cache-bytes`, or 1/16 of the memory. The least recently used tasks are evicted',
    charged: '',
    settings: ['cacheBytes', 'memoryBytes'],
    codes: [],
  },
} as const satisfies Record<string, Resource>

export type ResourceName = keyof typeof resources

const requestLimits = {
  taskBytes: {
    code: 'request_too_costly',
    unit: 'bytes',
    setting: 'maxTaskBytes',
    advice: 'name fewer tasks in one request',
  },
  multiplyAdds: {
    code: 'request_too_costly',
    unit: 'multiply-adds',
    setting: 'maxHeadMultiplyAdds',
    advice: 'send fewer or shorter texts in one request',
  },
  answerBytes: {
    code: 'answer_too_large',
    unit: 'bytes',
    setting: 'maxAnswerBytes',
    advice: 'ask for fewer labels with top_k, or send fewer or shorter texts in one request',
  },
} as const satisfies Partial<
  Record<ResourceName, { code: ProblemCode; unit: string; setting: SettingName; advice: string }>
>

/**
 * The error for a request that exceeds the limit of a resource.
 * @param whose what uses the resource, as the subject of a sentence
 */
export function exceeds(resource: keyof typeof requestLimits, asked: number, limit: number, whose: string): Problem {
  const { code, unit, setting, advice } = requestLimits[resource]
  return new Problem(
    code,
    `${whose} would take ${asked} ${unit}; at most ${limit} are allowed (${flagOf(setting)}). To stay below, ${advice}`,
    { resource, asked, limit },
  )
}

const allResources = Object.values<Resource>(resources)
const listed = (words: readonly string[]) => words.map((word) => `\`${word}\``).join(', ')
const table = (head: readonly string[], rows: readonly (readonly string[])[]) =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')

/** The Markdown table of SECURITY.md: every resource, its limits, and what is charged. */
export const boundsTable = (): string =>
  table(
    ['Resource', 'Limit of one request', 'Limit of all requests in progress', 'Charged'],
    allResources.map(({ what, perRequest, inProgress, charged }) => [what, perRequest, inProgress, charged]),
  )

/** The Markdown table of docs/limits.md: the settings of each resource, and the errors beyond its limits. */
export const limitsTable = (): string =>
  table(
    ['Resource', 'Settings and their defaults', 'Errors beyond the limit'],
    allResources.map(({ what, settings, codes }) => [
      what,
      settings.map((name) => `\`${flagOf(name)}\` ${shownDefault(name)}`).join(', '),
      listed(codes),
    ]),
  )
