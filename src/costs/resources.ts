// Every resource that a caller can use up: its bound, the setting of the bound, who pays, and the error beyond it. This table
// makes the errors of some rows, and the tables of SECURITY.md and docs/limits.md.

import { flagOf, type SettingName, shownDefault } from '../config.js'
import { Problem, type ProblemCode } from '../problem.js'

interface Resource {
  /** What is bounded, for people. */
  readonly what: string
  /** The bound of one request, upload or connection. */
  readonly perRequest: string
  /** The bound of what is in flight: of an owner (a tenant, or the operator), and in total. */
  readonly inFlight: string
  /** What pays for it: rates, turns at the engine, quotas. */
  readonly charged: string
  readonly settings: readonly SettingName[]
  /** Codes of the errors beyond the bounds. A connection that is closed without an answer has none. */
  readonly codes: readonly ProblemCode[]
}

/** In flight a pool is divided by dynamic thresholds (pool.ts). */
const pooled = (share: string) => `An owner at most half of what is free; ${share} in total`

export const resources = {
  connections: {
    what: 'Connections',
    perRequest: 'One request at work on a connection; at most 16 wait behind it',
    inFlight: '`--max-connections` in total; further ones are closed',
    charged: '',
    settings: ['maxConnections', 'keepAliveTimeoutMs'],
    codes: ['invalid_request'],
  },
  headers: {
    what: "Bytes of a request's line and headers, and the time until they have arrived",
    perRequest: '`--max-header-bytes`, `--headers-timeout-ms`',
    inFlight: 'Those of all connections',
    charged: '',
    settings: ['maxHeaderBytes', 'headersTimeoutMs'],
    codes: ['headers_too_large', 'request_timeout'],
  },
  requests: {
    what: 'Requests',
    perRequest: '',
    inFlight:
      'While several owners ask, one is begun in each turn of the event loop, and owners take turns. After a refusal an owner rests for 10 ms',
    charged: "The tenant's requests per second, before anything else is done",
    settings: [],
    codes: ['rate_limited'],
  },
  bodyBytes: {
    what: 'Bytes of a body, and the time until it has arrived',
    perRequest: '`--max-body-bytes` for JSON, `--max-upload-bytes` for a task file; `--receive-timeout-ms`',
    inFlight: pooled('1/16 of the memory'),
    charged: "A task file: the tenant's quota of bytes, before the body is read",
    settings: ['maxBodyBytes', 'maxUploadBytes', 'receiveTimeoutMs', 'memoryBytes'],
    codes: ['body_too_large', 'request_timeout', 'quota_exceeded', 'overloaded'],
  },
  jsonValues: {
    what: 'Values of a JSON body, and how deep they are nested; counted before the body is parsed',
    perRequest: 'Four times `--max-inputs`, and 100; 8 levels. A large body is parsed in slices',
    inFlight: 'As bodies',
    charged: '',
    settings: ['maxInputs'],
    codes: ['too_many_inputs', 'invalid_request'],
  },
  refusedBodies: {
    what: 'Bytes of a refused body that are read all the same, so that its client reads the answer',
    perRequest: '64 MiB and 10 s; without a key 1 MiB and 1 s. Then the connection is closed',
    inFlight: '64 MiB a second of all connections together; nothing is kept',
    charged: '',
    settings: [],
    codes: [],
  },
  inputs: {
    what: 'Texts',
    perRequest: '`--max-inputs`',
    inFlight: '`--max-queue-rows` texts may wait in total, of an owner and of a task at most half of what is free',
    charged: '',
    settings: ['maxInputs', 'maxQueueRows'],
    codes: ['too_many_inputs', 'overloaded'],
  },
  taskBytes: {
    what: 'Bytes of the tasks that a request names, as they are in memory',
    perRequest: '`--max-task-bytes`; one task alone always fits',
    inFlight: pooled('1/16 of the memory'),
    charged: '',
    settings: ['maxTaskBytes', 'memoryBytes'],
    codes: ['request_too_costly', 'overloaded'],
  },
  characters: {
    what: 'Characters that are tokenised',
    perRequest: '32 for each token that the model takes; what follows is not read, or refused with `"truncate": false`',
    inFlight: 'By 1/64 of the memory: an owner at most half of it. What does not fit waits, and owners take turns',
    charged: 'By the tokens',
    settings: ['memoryBytes'],
    codes: ['text_too_long'],
  },
  tokens: {
    what: 'Tokens that are computed',
    perRequest: "Those that the model takes, for each text; and what can be answered before the request's deadline",
    inFlight:
      'What can be answered before the deadlines. While one tenant floods and others ask, a batch takes about 10 ms, and at least a quarter of an efficient batch',
    charged: "The tenant's tokens per second, and its turns at the engine; a refused request is not charged",
    settings: ['requestTimeoutMs'],
    codes: ['rate_limited', 'overloaded', 'deadline_exceeded'],
  },
  multiplyAdds: {
    what: "Multiply-adds of the tasks' heads, for all texts or words of a request",
    perRequest: '`--max-head-multiply-adds`',
    inFlight: 'Done in slices of 1 ms; owners take turns',
    charged: '100,000 are charged as a token',
    settings: ['maxHeadMultiplyAdds'],
    codes: ['request_too_costly'],
  },
  answerBytes: {
    what: 'Bytes of an answer: labels for each text or word, or numbers of vectors; estimated from above',
    perRequest: '`--max-answer-bytes`',
    inFlight: pooled('1/32 of the memory, and three times the largest answer for each of two,'),
    charged: '250 values are charged as a token',
    settings: ['maxAnswerBytes', 'memoryBytes'],
    codes: ['answer_too_large', 'overloaded'],
  },
  downloads: {
    what: 'Bytes of a task file that is downloaded, and the time in which nothing of an answer is taken',
    perRequest: 'The file; `--send-timeout-ms`',
    inFlight: 'As answers',
    charged: '',
    settings: ['sendTimeoutMs', 'memoryBytes'],
    codes: ['overloaded'],
  },
  taskFile: {
    what: 'A task file: header, labels, description, metrics',
    perRequest:
      'A header of 4 MiB and 1,000 values; 100,000 labels of 1,000 characters; a description of 10,000; metrics of 65,536. It is read in slices',
    inFlight: 'As bodies',
    charged: '',
    settings: [],
    codes: ['not_safetensors', 'invalid_task_file'],
  },
  storage: {
    what: 'Tasks that are stored, their bytes, and keys',
    perRequest: '',
    inFlight: '',
    charged: "The tenant's quotas of tasks and bytes; 100 keys of an owner",
    settings: [],
    codes: ['quota_exceeded'],
  },
  cache: {
    what: 'Bytes of tasks that were used lately',
    perRequest: '',
    inFlight: '`--cache-bytes`, or 1/16 of the memory; the least recently used tasks are evicted',
    charged: '',
    settings: ['cacheBytes', 'memoryBytes'],
    codes: [],
  },
} as const satisfies Record<string, Resource>

export type ResourceName = keyof typeof resources

const bounds = {
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
 * The error for a request that would take more of a resource than one request may.
 * @param whose what takes it, as the subject of a sentence
 */
export function exceeds(resource: keyof typeof bounds, asked: number, limit: number, whose: string): Problem {
  const { code, unit, setting, advice } = bounds[resource]
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

/** The table of SECURITY.md, in Markdown: what is bounded, and who pays. */
export const boundsTable = (): string =>
  table(
    ['What a caller can use up', 'One request', 'In flight', 'Charged'],
    allResources.map(({ what, perRequest, inFlight, charged }) => [what, perRequest, inFlight, charged]),
  )

/** The table of docs/limits.md, in Markdown: which settings to change, and which errors to expect. */
export const limitsTable = (): string =>
  table(
    ['Resource', 'Settings and their defaults', 'Errors beyond the bounds'],
    allResources.map(({ what, settings, codes }) => [
      what,
      settings.map((name) => `\`${flagOf(name)}\` ${shownDefault(name)}`).join(', '),
      listed(codes),
    ]),
  )
