// Errors of execution providers, and what the user can do about them.

import { Problem } from '../problem.js'
import { type Provider, providers } from './providers.js'

/** The device exists but cannot do what is needed. The message is the rest of a sentence that begins with the device. */
export class UnsuitableDevice extends Error {}

/** The error for a provider that does not load. */
export function providerUnavailable(provider: Provider, error: Error): Problem {
  const advice = error instanceof UnsuitableDevice ? undefined : providers[provider].needs
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
