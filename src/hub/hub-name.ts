// The name of a model on the Hugging Face Hub, as users write it: organisation/name, and optionally @revision.

import { existsSync } from 'node:fs'

export interface HubName {
  /** organisation/name */
  readonly repository: string
  /** A branch, a tag or a commit. */
  readonly revision: string
}

const pattern = /^(?<repository>[\w-][\w.-]*\/[\w-][\w.-]*)(?:@(?<revision>[\w-][\w./-]*))?$/

/**
 * @param given the value of --model-dir
 * @returns undefined if there is a file or directory of that path, or if it has another form
 */
export function parseHubName(given: string): HubName | undefined {
  const { repository, revision = 'main' } = pattern.exec(given)?.groups ?? {}
  if (repository === undefined || /\.\.|--/.test(repository) || revision.includes('..') || existsSync(given))
    return undefined
  return { repository, revision }
}
