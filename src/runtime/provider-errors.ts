// Errors of execution providers, and what the user can do about them.

import { Problem } from '../problem.js'
import type { Provider } from './execution-providers.js'

/** The device exists but cannot do what is needed. The message is the rest of a sentence that begins with the device. */
export class UnsuitableDevice extends Error {}

const requirements: Partial<Record<Provider, string>> = {
  cuda:
    'It needs Linux x64, an NVIDIA driver, CUDA 13 with cuDNN 9, and the CUDA library of onnxruntime, which npm does not ' +
    'install. docs/backbones.md says how to install it; the Dockerfile\'s "cuda" target includes all of this.',
  webgpu: 'It needs a Vulkan driver.',
}

/** The error for a provider that does not load. */
export function providerUnavailable(provider: Provider, error: Error): Problem {
  const advice = error instanceof UnsuitableDevice ? undefined : requirements[provider]
  return new Problem(
    'provider_unavailable',
    `provider "${provider}" does not load here: ${firstSentence(error)}.${advice ? ` ${advice}` : ''}`,
  )
}

/** The first line of an onnxruntime error, without its source position, and at most 200 characters of it. */
export const firstSentence = (error: Error): string =>
  (error.message.split('\n')[0] ?? '')
    .replace(/^\/.* was false\. /, '')
    .replace(/[.\s]+$/, '')
    .slice(0, 200)
