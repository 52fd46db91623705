// Where the package is, and its version. The product runs from dist/ and the tests run from build/src/, so that paths
// relative to a module would differ: the package is found by its name.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const manifest = import.meta.resolve('propetl/package.json')

/** A file or folder of the package, by its path from the package's folder. */
export const inPackage = (path: string): URL => new URL(path, manifest)

/** Folder of the bundled model. A checkout and the images have it; the npm package does not. */
export const bundledModelDir = fileURLToPath(inPackage('models/all-MiniLM-L6-v2'))

export const { version } = JSON.parse(readFileSync(new URL(manifest), 'utf8')) as { readonly version: string }
