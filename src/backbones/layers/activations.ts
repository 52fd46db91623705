// The supported activations of feed-forward blocks, by their names in config.json.

import { gelu, geluTanh, relu } from '../../graph/operators.js'

export const hiddenActivations = { gelu, gelu_new: geluTanh, relu }

export type Activation = keyof typeof hiddenActivations
