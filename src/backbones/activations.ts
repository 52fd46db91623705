// The activations of feed-forward blocks, by the names that config.json has for them.

import { gelu, geluTanh, relu } from '../graph/operators.js'

export const hiddenActivations = { gelu, gelu_new: geluTanh, relu }

export type Activation = keyof typeof hiddenActivations
