// What tasks must be, by the answers that changes of them got: each answer says that a change was made, was not made, or
// that its outcome is unknown, and what is stored afterwards has to agree.

import { digestOf } from '../../src/formats/digest.js'
import { type Answer, type ServerUnderTest, told } from './server.js'

export type Verdict = 'made' | 'not made' | 'unknown'

export function verdictOf({ status, code }: Answer): Verdict {
  if (status === 0 || code === 'outcome_unknown') return 'unknown'
  return status >= 200 && status < 300 ? 'made' : 'not made'
}

/** What the changes are asked of. */
type TaskServer = Pick<ServerUnderTest, 'put' | 'ask' | 'digest'>

type Version = string | undefined

export class Ledger {
  readonly counts: Record<Verdict, number> = { made: 0, 'not made': 0, unknown: 0 }
  /** Answers with `outcome_unknown`. */
  unknownAnswers = 0
  /** Answers that were not acknowledgements, by what they said. */
  readonly refusals: Record<string, number> = {}
  readonly #possible = new Map<string, ReadonlySet<Version>>()
  /** Of each task, what was tried last and how it was answered. */
  readonly #last = new Map<string, string>()

  get changes(): number {
    return Object.values(this.counts).reduce((sum, count) => sum + count)
  }

  /** Whether a task was acknowledged and not changed since. */
  has(id: string): boolean {
    const versions = this.#possible.get(id)
    return versions !== undefined && !versions.has(undefined)
  }

  async put(server: TaskServer, id: string, file: Uint8Array<ArrayBuffer>, timeoutMs?: number): Promise<Verdict> {
    return this.#note(id, digestOf(file), await server.put(id, file, timeoutMs === undefined ? {} : { timeoutMs }))
  }

  async remove(server: TaskServer, id: string): Promise<Verdict> {
    return this.#note(id, undefined, await server.ask('DELETE', `/tasks/${id}`))
  }

  /** Compares all tasks with what a server has, and goes on from there. @returns what is wrong */
  async check(server: TaskServer): Promise<string[]> {
    const wrong: string[] = []
    for (const [id, possible] of this.#possible) {
      const found = await server.digest(id).catch((error: Error) => error)
      if (found instanceof Error) wrong.push(found.message)
      else {
        if (!possible.has(found))
          wrong.push(`${id} is ${shown(found)}, not ${[...possible].map(shown).join(' or ')}; ${this.#last.get(id)}`)
        this.#possible.set(id, new Set([found]))
      }
    }
    return wrong
  }

  #note(id: string, wanted: Version, answer: Answer): Verdict {
    const before = this.#possible.get(id) ?? new Set([undefined])
    const verdict = verdictOf(answer)
    this.counts[verdict]++
    if (answer.code === 'outcome_unknown') this.unknownAnswers++
    if (verdict !== 'made') {
      const reason = answer.status === 0 ? 'no answer' : `${answer.status} ${answer.code}`
      this.refusals[reason] = (this.refusals[reason] ?? 0) + 1
    }
    this.#possible.set(id, possibleAfter(before, wanted, verdict, answer))
    this.#last.set(id, `to become ${shown(wanted)}: ${told(answer).slice(0, 200)}`)
    return verdict
  }
}

function possibleAfter(
  before: ReadonlySet<Version>,
  wanted: Version,
  verdict: Verdict,
  { status }: Answer,
): ReadonlySet<Version> {
  switch (verdict) {
    case 'made':
      return new Set([wanted])
    case 'unknown':
      return new Set([...before, wanted])
    case 'not made':
      // A task that is not found was removed before, if it ever was.
      return status === 404 ? new Set([undefined]) : before
  }
}

const shown = (version: Version) => version?.slice(0, 8) ?? 'absent'
