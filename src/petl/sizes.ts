// The sizes in the settings of modules.

import { Type } from 'typebox'

/** A dimension of a module's weights. The limit keeps damaged files from asking for huge tensors. */
export const moduleSize = Type.Integer({ minimum: 1, maximum: 100_000 })
