// Chooses the execution provider: the one that the settings name, or the best one that loads on this machine.

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Problem } from '../problem.js'
import type { Numerics, Provider } from './execution-providers.js'
import { Float16Session } from './float16-session.js'
import type { PackedRows } from './packed-rows.js'
import { firstSentence, providerUnavailable } from './provider-errors.js'
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

/** The providers that support each numerics. */
const providersOf: Record<Numerics, readonly Provider[]> = {
  float32: ['cpu', 'webgpu', 'cuda'],
  float16: ['cuda'],
  int8: ['cpu'],
}

/**
 * Opens a session and warms it up.
 * @throws Problem `provider_unavailable` if the requested provider does not load; `invalid_setting` if it does not support the
 *   numerics; the errors of servingGraph
 */
export async function openSession(
  { provider: wanted, numerics }: ProviderRequest,
  options: SessionOptions,
): Promise<{ readonly session: ServingSession; readonly choice: ProviderChoice }> {
  const [only, ...others] = numerics === 'auto' ? providersOf.float32 : providersOf[numerics]
  if (numerics !== 'auto' && wanted !== 'auto' && !providersOf[numerics].includes(wanted))
    throw new Problem(
      'invalid_setting',
      `provider "${wanted}" does not support numerics ${numerics}; expected numerics float32, or provider ${only}`,
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
      throw error instanceof Problem || provider === 'cpu' ? error : providerUnavailable(provider, error as Error)
    }
  }
  if (wanted !== 'auto') return choose(wanted, 'the provider setting names it')
  if (only !== undefined && others.length === 0) return choose(only, `only ${only} supports ${numerics}`)
  return openBest(open, batch)
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
  if (numerics === 'float16') return { session: await Float16Session.open(provider, options), numerics }
  if (numerics !== 'auto') return { session: await EngineSession.open(provider, numerics, options), numerics }
  if (provider !== 'cuda')
    return { session: await EngineSession.open(provider, 'float32', options), numerics: 'float32' }
  return openFloat16IfAccurate(provider, options)
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

/** Whether the choice can be another provider than the CPU. If none is installed, none needs to be tried. */
export const mayUseDevice = ({ provider, numerics }: ProviderRequest): boolean =>
  provider === 'auto' ? numerics !== 'int8' && (hasCudaProvider() || hasVulkanDriver()) : provider !== 'cpu'

/** Chooses CUDA if it loads. WebGPU also loads on software renderers, so it must run a batch faster than the CPU. */
async function openBest(
  open: Open,
  batchOf: (rows: number, tokens: number) => PackedRows,
): Promise<{ session: ServingSession; choice: ProviderChoice }> {
  const findings: string[] = []
  const take = (opened: Opened) => taken(opened, findings.join('; '))
  const attempt = async (provider: Provider): Promise<Opened | undefined> => {
    try {
      if (provider === 'webgpu' && !hasVulkanDriver()) throw new Error('no Vulkan driver is installed')
      return await open(provider)
    } catch (error) {
      if (error instanceof Problem) throw error
      findings.push(`${provider} does not load (${firstSentence(error as Error)})`)
      return undefined
    }
  }

  const cuda = await attempt('cuda')
  if (cuda) {
    findings.push('cuda loads')
    return take(cuda)
  }
  const cpu = await open('cpu')
  const batch = batchOf(8, 32)
  const cpuMs = Math.min(await timeRun(cpu.session, batch), await timeRun(cpu.session, batch))
  const webgpu = await attempt('webgpu')
  if (webgpu === undefined) {
    findings.push('the CPU is always available')
    return take(cpu)
  }
  // One short row detects a software renderer, without waiting for the whole batch.
  const shortMs = await timeRun(webgpu.session, batchOf(1, 8))
  const ofBatch = async () => Math.min(await timeRun(webgpu.session, batch), await timeRun(webgpu.session, batch))
  const webgpuMs = shortMs > cpuMs ? shortMs : await ofBatch()
  const [best, other] = webgpuMs < cpuMs ? [webgpu, cpu] : [cpu, webgpu]
  await other.session.release()
  const webgpuBatch = shortMs > cpuMs ? 'one text of 8 tokens' : 'the same batch'
  findings.push(
    `cpu takes ${cpuMs.toFixed(1)} ms for 8 texts of 32 tokens, webgpu ${webgpuMs.toFixed(1)} ms for ${webgpuBatch}`,
  )
  return take(best)
}

/** Whether onnxruntime's CUDA library is installed. It has to be in the folder of the native binding. */
function hasCudaProvider(): boolean {
  const { platform, arch } = process
  const bin = fileURLToPath(new URL('../bin', import.meta.resolve('onnxruntime-node')))
  return readdirSync(bin).some((version) =>
    existsSync(join(bin, version, platform, arch, 'libonnxruntime_providers_cuda.so')),
  )
}

/**
 * Whether a Vulkan driver may be installed. On Linux this looks for the manifests that the Vulkan loader reads. Without a
 * driver, an attempt to load WebGPU would only write warnings to stderr.
 */
function hasVulkanDriver(): boolean {
  const { env, platform } = process
  if (platform !== 'linux' || env.VK_DRIVER_FILES || env.VK_ICD_FILENAMES || env.VK_ADD_DRIVER_FILES) return true
  const shared = (env.XDG_DATA_DIRS ?? '/usr/local/share:/usr/share').split(':')
  const own = env.XDG_DATA_HOME ?? `${env.HOME ?? ''}/.local/share`
  return ['/etc', ...shared, own].some((folder) => {
    const manifests = `${folder}/vulkan/icd.d`
    return existsSync(manifests) && readdirSync(manifests).length > 0
  })
}
