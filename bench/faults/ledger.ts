// Records changes and their responses. A response states that a change was made, was not made, or that its outcome is
// unknown; what is stored afterwards must agree.

import { digestOf } from '../../src/formats/digest.js'
import { describeResponse, type ServerResponse, type ServerUnderTest } from './server.js'

export type Verdict = 'made' | 'not made' | 'unknown'

export function verdictOf({ status, code }: ServerResponse): Verdict {
  if (status === 0 || code === 'outcome_unknown') return 'unknown'
  return status >= 200 && status < 300 ? 'made' : 'not made'
}

/** The part of a server that the ledger uses. */
type TaskServer = Pick<ServerUnderTest, 'put' | 'request' | 'digest'>

type Version = string | undefined

export class Ledger {
  readonly counts: Record<Verdict, number> = { made: 0, 'not made': 0, unknown: 0 }
  /** Number of responses with the code `outcome_unknown`. */
  unknownResponses = 0
  /** Number of responses other than acknowledgements, by status and code. */
  readonly rejections: Record<string, number> = {}
  /** The versions that each task may have; undefined is a task that does not exist. */
  readonly #possible = new Map<string, ReadonlySet<Version>>()
  /** The last change of each task and its response, for messages. */
  readonly #last = new Map<string, string>()

  get changes(): number {
    return Object.values(this.counts).reduce((sum, count) => sum + count)
  }

  /** Whether a task certainly exists. */
  has(id: string): boolean {
    const versions = this.#possible.get(id)
    return versions !== undefined && !versions.has(undefined)
  }

  async put(server: TaskServer, id: string, file: Uint8Array<ArrayBuffer>, timeoutMs?: number): Promise<Verdict> {
    return this.#record(id, digestOf(file), await server.put(id, file, timeoutMs === undefined ? {} : { timeoutMs }))
  }

  async remove(server: TaskServer, id: string): Promise<Verdict> {
    return this.#record(id, undefined, await server.request('DELETE', `/tasks/${id}`))
  }

  /** Compares all tasks with those of a server, which become the only possible versions. @returns the differences */
  async check(server: TaskServer): Promise<string[]> {
    const wrong: string[] = []
    for (const [id, possible] of this.#possible) {
      const stored = await server.digest(id).catch((error: Error) => error)
      if (stored instanceof Error) wrong.push(stored.message)
      else {
        if (!possible.has(stored))
          wrong.push(
            `${id} has version ${nameOf(stored)}; expected ${[...possible].map(nameOf).join(' or ')}; last change ${this.#last.get(id)}`,
          )
        this.#possible.set(id, new Set([stored]))
      }
    }
    return wrong
  }

  #record(id: string, wanted: Version, response: ServerResponse): Verdict {
    const before = this.#possible.get(id) ?? new Set([undefined])
    const verdict = verdictOf(response)
    this.counts[verdict]++
    if (response.code === 'outcome_unknown') this.unknownResponses++
    if (verdict !== 'made') {
      const reason = response.status === 0 ? 'no response' : `${response.status} ${response.code}`
      this.rejections[reason] = (this.rejections[reason] ?? 0) + 1
    }
    this.#possible.set(id, possibleAfter(before, wanted, verdict, response))
    this.#last.set(id, `to ${nameOf(wanted)}: ${describeResponse(response).slice(0, 200)}`)
    return verdict
  }
}

function possibleAfter(
  before: ReadonlySet<Version>,
  wanted: Version,
  verdict: Verdict,
  { status }: ServerResponse,
): ReadonlySet<Version> {
  switch (verdict) {
    case 'made':
      return new Set([wanted])
    case 'unknown':
      return new Set([...before, wanted])
    case 'not made':
      // The server states that the task does not exist.
      return status === 404 ? new Set([undefined]) : before
  }
}

const nameOf = (version: Version) => version?.slice(0, 8) ?? 'none'
