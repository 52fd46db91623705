// Fields of config.json that families with rotary positions have, with their checks.

import type { ConfigFile } from '../config-file.js'
import { rotaryFrequencies } from '../layers/rotary.js'

/** How a type of rotary positions scales the frequencies of a head. */
const ropeTypes = {
  default: ({ theta, headSize }: Scaling) => rotaryFrequencies(theta, headSize),
  /** Positions are divided by the factor (Chen et al. 2023, arXiv 2306.15595). */
  linear: ({ theta, factor, headSize }: Scaling) =>
    rotaryFrequencies(theta, headSize).map((frequency) => frequency / factor),
  /** Fixed NTK-aware scaling, as the code of GTE models computes it. */
  ntk: ({ theta, factor, headSize }: Scaling) =>
    rotaryFrequencies(theta * factor, headSize).map((frequency) => frequency / factor ** (2 / headSize)),
}

interface Scaling {
  readonly theta: number
  readonly factor: number
  readonly headSize: number
}

/**
 * The frequencies of rotary positions. Newer configs have them in `rope_parameters`, older ones in `rope_theta` and
 * `rope_scaling`.
 * @param config the config, or its section for one kind of layers
 * @param theta if the config has none
 */
export function readRotary(config: ConfigFile, headSize: number, theta: number): readonly number[] {
  const isNewer = config.has('rope_parameters')
  // With both, a reader could take either of them.
  if (isNewer) config.only('rope_scaling')
  const scaling = config.below(isNewer ? 'rope_parameters' : 'rope_scaling')
  return frequenciesOf(scaling, headSize, config.positive('rope_theta', theta))
}

/** @param scaling the section of `rope_parameters` or `rope_scaling` */
export function frequenciesOf(scaling: ConfigFile, headSize: number, theta: number): readonly number[] {
  const type = scaling.choice('rope_type', ropeTypes, scaling.choice('type', ropeTypes, 'default'))
  scaling.only('partial_rotary_factor', 1)
  scaling.only('mixed_b')
  return ropeTypes[type]({
    theta: scaling.positive('rope_theta', theta),
    factor: type === 'default' ? 1 : scaling.positive('factor'),
    headSize,
  })
}

/**
 * The size of a head, whose elements are rotated in pairs.
 * @throws Problem `invalid_backbone` if it is odd
 */
export function readHeadSize(
  config: ConfigFile,
  { hiddenSize, heads }: { readonly hiddenSize: number; readonly heads: number },
): number {
  const headSize = hiddenSize / heads
  if (headSize % 2 !== 0)
    config.throwInvalidConfig(
      `a head has ${hiddenSize} / ${heads} = ${headSize} elements; expected an even number, because rotary positions rotate pairs`,
    )
  return headSize
}
