// Where models of the Hugging Face Hub come from and where they are kept. The variables are those of the Python package
// huggingface_hub, so that both share one cache and one login.

import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { getHFHubCachePath, HUB_URL } from '@huggingface/hub'
import { Problem } from '../problem.js'

export interface HubSettings {
  /** URL of the Hub or of a mirror, without a slash at the end. */
  readonly endpoint: string
  /** Folder of all cached models. */
  readonly cache: string
  readonly token: string | undefined
  /** Whether only the cache may be used. */
  readonly offline: boolean
}

type Environment = Readonly<Partial<Record<string, string>>>

/** @throws Problem `invalid_setting` if HF_ENDPOINT is not a URL */
export function readHubSettings(environment: Environment = process.env): HubSettings {
  const endpoint = (environment.HF_ENDPOINT || HUB_URL).replace(/\/+$/, '')
  if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint))
    throw new Problem('invalid_setting', `HF_ENDPOINT is not a URL; expected one like ${HUB_URL}`)
  return {
    endpoint,
    cache: getHFHubCachePath(),
    token: environment.HF_TOKEN?.trim() || savedToken(environment),
    offline: isTrue(environment.HF_HUB_OFFLINE) || isTrue(environment.TRANSFORMERS_OFFLINE),
  }
}

const isTrue = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? '')

/** The token that `hf auth login` saved. */
function savedToken(environment: Environment): string | undefined {
  if (isTrue(environment.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined
  const home = environment.HF_HOME ?? join(environment.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'huggingface')
  try {
    return readFileSync(environment.HF_TOKEN_PATH ?? join(home, 'token'), 'utf8').trim() || undefined
  } catch {
    return undefined
  }
}
