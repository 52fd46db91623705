// Which number formats run on which execution providers, in words for the documentation of the setting.

import { numberFormats, numerics } from './numerics.js'
import { providerNames, providers } from './providers.js'

/** Which numerics not all providers support: "`float16` runs on CUDA only; …". */
export function restrictedNumerics(): string {
  const clauses = numerics.flatMap((name) => {
    const { note } = numberFormats[name]
    const on = providerNames.filter((provider) => providers[provider].numerics.includes(name))
    const labels = on.map((provider) => providers[provider].label).join(' and ')
    return on.length === providerNames.length ? [] : [`\`${name}\`${note ? ` (${note})` : ''} runs on ${labels} only`]
  })
  return clauses.join('; ')
}
