// Which execution provider runs: the one that was asked for, or the best that really loads here.

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { maxTokensOf } from '../backbones/families.js'
import { Problem } from '../problem.js'
import { UnfitDevice } from './on-device.js'
import type { PackedRows } from './rows.js'
import { EngineSession, type Numerics, type Provider, type SessionOptions } from './session.js'
import { batchOf, runTime } from './warm-up.js'

export interface ProviderChoice {
  readonly provider: Provider
  /** Why this one, in a sentence for the log. */
  readonly reason: string
}

/** Opens a session that has answered a short row: the first run allocates, and a provider may fail as late as there. */
type Open = (provider: Provider) => Promise<EngineSession>

/**
 * Opens a session and warms it up.
 * @throws Problem `provider_unavailable` if the provider that was asked for does not load; whatever the graph's
 *   making throws
 */
export async function openSession(
  wanted: Provider | 'auto',
  options: SessionOptions,
): Promise<{ readonly session: EngineSession; readonly choice: ProviderChoice }> {
  const { backbone, numerics } = options
  if (numerics === 'int8' && wanted !== 'auto' && wanted !== 'cpu')
    throw new Problem(
      'invalid_setting',
      `the numerics setting is int8, which the provider cpu computes, and not "${wanted}"; expected float32 with it`,
    )
  const batch = (rows: number, tokens: number) => batchOf(rows, Math.min(tokens, maxTokensOf(backbone.config)))
  const open: Open = async (provider) => {
    const session = await EngineSession.open(provider, options)
    try {
      await runTime(session, batch(1, 8))
    } catch (error) {
      await session.release()
      throw error
    }
    return session
  }
  if (wanted === 'auto' && numerics === 'int8')
    return { session: await open('cpu'), choice: { provider: 'cpu', reason: 'int8 is computed on the CPU' } }
  if (wanted === 'auto') return openBest(open, batch)
  try {
    return {
      session: await open(wanted),
      choice: { provider: wanted, reason: 'asked for by the provider setting' },
    }
  } catch (error) {
    throw error instanceof Problem ? error : unavailable(wanted, error as Error)
  }
}

/** Whether anything but the CPU may come of a choice: where nothing else is installed, nothing needs to be tried. */
export const mayTakeDevice = ({ provider, numerics }: { provider: Provider | 'auto'; numerics: Numerics }): boolean =>
  provider === 'auto' ? numerics !== 'int8' && (hasCudaProvider() || hasVulkanDriver()) : provider !== 'cpu'

/** CUDA if it loads. WebGPU loads on software renderers too, so it must beat the CPU at a batch. */
async function openBest(
  open: Open,
  batchOf: (rows: number, tokens: number) => PackedRows,
): Promise<{ session: EngineSession; choice: ProviderChoice }> {
  const findings: string[] = []
  const take = (session: EngineSession) => ({
    session,
    choice: { provider: session.provider, reason: findings.join('; ') },
  })
  const attempt = async (provider: Provider): Promise<EngineSession | undefined> => {
    try {
      if (provider === 'webgpu' && !hasVulkanDriver()) throw new Error('no Vulkan driver is installed')
      return await open(provider)
    } catch (error) {
      if (error instanceof Problem) throw error
      findings.push(`${provider} does not load (${sentence(error as Error)})`)
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
  const cpuMs = Math.min(await runTime(cpu, batch), await runTime(cpu, batch))
  const webgpu = await attempt('webgpu')
  if (webgpu === undefined) {
    findings.push('cpu runs everywhere')
    return take(cpu)
  }
  // A software renderer is told by one short row, long before it would have finished the batch.
  const shortMs = await runTime(webgpu, batchOf(1, 8))
  const webgpuMs = shortMs > cpuMs ? shortMs : Math.min(await runTime(webgpu, batch), await runTime(webgpu, batch))
  const [best, other] = webgpuMs < cpuMs ? [webgpu, cpu] : [cpu, webgpu]
  await other.release()
  const webgpuBatch = shortMs > cpuMs ? 'one row of 8' : '8 rows of 32'
  findings.push(
    `cpu takes ${cpuMs.toFixed(1)} ms for 8 rows of 32 tokens, webgpu ${webgpuMs.toFixed(1)} ms for ${webgpuBatch}`,
  )
  return take(best)
}

/** Whether onnxruntime's CUDA library is installed: it is found beside the binding, or not at all. */
function hasCudaProvider(): boolean {
  const { platform, arch } = process
  const bin = fileURLToPath(new URL('../bin', import.meta.resolve('onnxruntime-node')))
  return readdirSync(bin).some((version) =>
    existsSync(join(bin, version, platform, arch, 'libonnxruntime_providers_cuda.so')),
  )
}

/**
 * Whether Linux has a Vulkan driver, by the manifests that the Vulkan loader looks for. Without one the attempt to
 * load would only write warnings to stderr.
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

const libraries: Partial<Record<Provider, string>> = {
  cuda:
    'It needs Linux x64, an NVIDIA driver, CUDA 13 with cuDNN 9, and the CUDA library of onnxruntime, which npm does not ' +
    'bring: the README says where it is to be had, and the Dockerfile\'s "cuda" target has all of it.',
  webgpu: 'It needs a Vulkan, Metal or Direct3D 12 driver.',
}

/** What a user is told whose provider does not load. */
export function unavailable(provider: Provider, error: Error): Problem {
  const advice = error instanceof UnfitDevice ? undefined : libraries[provider]
  return new Problem(
    'provider_unavailable',
    `provider "${provider}" does not load here: ${sentence(error)}.${advice ? ` ${advice}` : ''}`,
  )
}

/** What an onnxruntime error says, without the place in its sources. */
const sentence = (error: Error): string =>
  (error.message.split('\n')[0] ?? '')
    .replace(/^\/.* was false\. /, '')
    .replace(/[.\s]+$/, '')
    .slice(0, 200)
