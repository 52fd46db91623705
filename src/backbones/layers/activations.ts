// The supported activations of feed-forward blocks, by their names in config.json.

import { gelu, geluTanh, relu, silu } from '../../graph/operators.js'

export const hiddenActivations = {
  gelu,
  gelu_new: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  relu,
  silu,
  swish: silu,
}

export type Activation = keyof typeof hiddenActivations
