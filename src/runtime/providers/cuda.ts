// CUDA on NVIDIA GPUs. In training, operators without a CUDA kernel run on the CPU.

import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExecutionProvider } from './provider.js'

export const cuda = {
  label: 'CUDA',
  isDevice: true,
  isExclusive: false,
  mustBeatCpu: false,
  needs:
    'It needs Linux x64, an NVIDIA driver, CUDA 13 with cuDNN 9, and the CUDA library of onnxruntime, which npm does not ' +
    'install. docs/backbones.md says how to install it; the Dockerfile\'s "cuda" target includes all of this.',
  missing: () => (hasLibrary() ? undefined : 'the CUDA library of onnxruntime is not installed'),
  numerics: ['float32', 'float16'],
  graph: { bank: 'uint16', gatherHalf: true, fusesTransposed: true },
  bank: 'used',
  // Nothing runs on the CPU, and waiting threads would only slow down the thread that launches kernels.
  hostThreads: 1,
  training: { maxRunTokens: 8192 },
} as const satisfies ExecutionProvider

/** Whether onnxruntime's CUDA library is installed. It has to be in the folder of the native binding. */
function hasLibrary(): boolean {
  const { platform, arch } = process
  const bin = fileURLToPath(new URL('../bin', import.meta.resolve('onnxruntime-node')))
  return readdirSync(bin).some((version) =>
    existsSync(join(bin, version, platform, arch, 'libonnxruntime_providers_cuda.so')),
  )
}
