// Chooses the execution provider: the one that the settings name, or the best one that loads on this machine.

import { Problem } from '../problem.js'
import { Float16Session } from './float16-session.js'
import { type Numerics, numberFormats } from './numerics.js'
import type { PackedRows } from './packed-rows.js'
import { firstSentence, providerUnavailable } from './provider-errors.js'
import { hostProvider, type Provider, providerNames, providers } from './providers.js'
import { EngineSession, type ServingSession, type SessionOptions } from './session.js'
import { timeRun, warmUpBatch } from './warm-up.js'

/** The provider and numerics settings. */
export interface ProviderRequest {
  readonly provider: Provider | 'auto'
  /** `auto` is float16 on CUDA, if it is accurate enough there, and float32 otherwise. */
  readonly numerics: Numerics | 'auto'
}

export interface ProviderChoice {
  readonly provider: Provider
  readonly numerics: Numerics
  /** Why they were chosen, as a sentence for the log. */
  readonly reason: string
}

/** Opens a session and runs a short row: the first run allocates memory, and a provider may fail only then. */
type Open = (provider: Provider) => Promise<Opened>

interface Opened {
  readonly session: ServingSession
  readonly numerics: Numerics
  /** The result of the accuracy check of float16, if there was one. */
  readonly finding?: string
}

/** The providers that support the numerics, in the order in which `auto` tries them. */
const providersOf = (numerics: ProviderRequest['numerics']): readonly Provider[] =>
  providerNames.filter((name) => providers[name].numerics.includes(numerics === 'auto' ? 'float32' : numerics))

/**
 * Opens a session and warms it up.
 * @throws Problem `provider_unavailable` if the requested provider does not load; `invalid_setting` if it does not support the
 *   numerics; the errors of servingGraph
 */
export async function openSession(
  { provider: wanted, numerics }: ProviderRequest,
  options: SessionOptions,
): Promise<{ readonly session: ServingSession; readonly choice: ProviderChoice }> {
  const able = providersOf(numerics)
  if (wanted !== 'auto' && !able.includes(wanted))
    throw new Problem(
      'invalid_setting',
      `provider "${wanted}" does not support numerics ${numerics}; expected numerics float32, or provider ${able.join(' or ')}`,
    )
  const batch = (rows: number, tokens: number) => warmUpBatch(rows, Math.min(tokens, options.backbone.dims.maxTokens))
  const open: Open = async (provider) => {
    const opened = await openWith(provider, numerics, options)
    try {
      await timeRun(opened.session, batch(1, 8))
    } catch (error) {
      await opened.session.release()
      throw error
    }
    return opened
  }
  const choose = async (provider: Provider, reason: string) => {
    try {
      return taken(await open(provider), reason)
    } catch (error) {
      const isKnown = error instanceof Problem || !providers[provider].isDevice
      throw isKnown ? error : providerUnavailable(provider, error as Error)
    }
  }
  if (wanted !== 'auto') return choose(wanted, 'the provider setting names it')
  const [only, ...others] = able
  if (only !== undefined && others.length === 0) return choose(only, `only ${only} supports ${numerics}`)
  return openBest(able, open, batch)
}

const taken = ({ session, numerics, finding }: Opened, reason: string) => ({
  session,
  choice: { provider: session.provider, numerics, reason: finding ? `${reason}; ${finding}` : reason },
})

async function openWith(
  provider: Provider,
  numerics: ProviderRequest['numerics'],
  options: SessionOptions,
): Promise<Opened> {
  if (numerics === 'auto')
    return providers[provider].numerics.includes('float16')
      ? openFloat16IfAccurate(provider, options)
      : { session: await EngineSession.open(provider, 'float32', options), numerics: 'float32' }
  const { overflows } = await numberFormats[numerics].load()
  const session = overflows
    ? await Float16Session.open(provider, options)
    : await EngineSession.open(provider, numerics, options)
  return { session, numerics }
}

/** Opens float16 if the device supports it and it is accurate enough, and float32 otherwise. */
async function openFloat16IfAccurate(provider: Provider, options: SessionOptions): Promise<Opened> {
  const full = await EngineSession.open(provider, 'float32', options)
  let half: EngineSession | undefined
  try {
    half = await EngineSession.open(provider, 'float16', options)
    const session = new Float16Session(provider, half, full, options.backbone.dims.hiddenSize)
    // Imported here because it loads the tokenizer, which the thread needs for nothing else.
    const { checkFloat16 } = await import('./float16-check.js')
    const { within, finding } = await checkFloat16(session, options)
    if (within) return { session, numerics: 'float16', finding }
    await half.release()
    return { session: full, numerics: 'float32', finding }
  } catch (error) {
    await half?.release()
    return { session: full, numerics: 'float32', finding: `float16 does not load (${firstSentence(error as Error)})` }
  }
}

/** Whether the choice can be a device. If none is installed, none needs to be tried. */
export const mayUseDevice = ({ provider, numerics }: ProviderRequest): boolean =>
  provider === 'auto'
    ? providersOf(numerics).some((name) => providers[name].isDevice && providers[name].missing() === undefined)
    : providers[provider].isDevice

/**
 * Chooses the first device that loads. A device that must beat the CPU is compared with it.
 * @param able the providers to choose from
 */
async function openBest(
  able: readonly Provider[],
  open: Open,
  batchOf: (rows: number, tokens: number) => PackedRows,
): Promise<{ session: ServingSession; choice: ProviderChoice }> {
  const findings: string[] = []
  const take = (opened: Opened) => taken(opened, findings.join('; '))
  const attempt = async (provider: Provider): Promise<Opened | undefined> => {
    try {
      const missing = providers[provider].missing()
      if (missing !== undefined) throw new Error(missing)
      return await open(provider)
    } catch (error) {
      if (error instanceof Problem) throw error
      findings.push(`${provider} does not load (${firstSentence(error as Error)})`)
      return undefined
    }
  }
  const devices = able.filter((name) => providers[name].isDevice)
  for (const provider of devices.filter((name) => !providers[name].mustBeatCpu)) {
    const opened = await attempt(provider)
    if (opened === undefined) continue
    findings.push(`${provider} loads`)
    return take(opened)
  }

  const batch = batchOf(8, 32)
  const msOf = async ({ session }: Opened) => Math.min(await timeRun(session, batch), await timeRun(session, batch))
  const cpu = await open(hostProvider)
  let best = { opened: cpu, ms: await msOf(cpu) }
  let hasRival = false
  for (const provider of devices.filter((name) => providers[name].mustBeatCpu)) {
    const opened = await attempt(provider)
    if (opened === undefined) continue
    hasRival = true
    // One short row detects a software renderer, without waiting for the whole batch.
    const shortMs = await timeRun(opened.session, batchOf(1, 8))
    const isSlow = shortMs > best.ms
    const rival = { opened, ms: isSlow ? shortMs : await msOf(opened) }
    findings.push(
      `${best.opened.session.provider} takes ${best.ms.toFixed(1)} ms for 8 texts of 32 tokens, ` +
        `${provider} ${rival.ms.toFixed(1)} ms for ${isSlow ? 'one text of 8 tokens' : 'the same batch'}`,
    )
    const [faster, slower] = rival.ms < best.ms ? [rival, best] : [best, rival]
    await slower.opened.session.release()
    best = faster
  }
  if (!hasRival) findings.push('the CPU is always available')
  return take(best.opened)
}
