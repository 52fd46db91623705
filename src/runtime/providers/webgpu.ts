// WebGPU, through a Vulkan driver on Linux. It can neither slice integers nor convert 16-bit integers, and many adapters do
// not support float16.

import { existsSync, readdirSync } from 'node:fs'
import type { ExecutionProvider } from './provider.js'

export const webgpu = {
  label: 'WebGPU',
  isDevice: true,
  // All sessions of a process share onnxruntime's one WebGPU context.
  isExclusive: true,
  // It also loads on software renderers, which are slower than the CPU.
  mustBeatCpu: true,
  needs: 'It needs a Vulkan driver.',
  missing: () => (hasVulkanDriver() ? undefined : 'no Vulkan driver is installed'),
  numerics: ['float32'],
  graph: { bank: 'float32', gatherHalf: false, fusesTransposed: false },
  bank: 'device',
} as const satisfies ExecutionProvider

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
