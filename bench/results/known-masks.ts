// Where the masks that training may start from are.

import { dirname, join } from 'node:path'
import { settings } from '../../src/settings.js'

/**
 * The folder of the known masks of a prototype.
 * @param prototype by default the bundled one
 * @param masksDir by default the folder "masks" next to the prototype, where `train` writes them
 */
export const masksFolder = ({
  prototype,
  masksDir,
}: {
  readonly prototype?: string
  readonly masksDir?: string
}): string => masksDir ?? (prototype === undefined ? settings.masksDir.value : join(dirname(prototype), 'masks'))
