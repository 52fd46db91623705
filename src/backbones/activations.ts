// The activations of feed-forward blocks, by the names that config.json has for them.

import { gelu, geluTanh, relu } from '../graph/operators.js'

export const activations = { gelu, gelu_new: geluTanh, relu }

export type Activation = keyof typeof activations
