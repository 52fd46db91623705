// Compiles the C libraries of this folder with the system's compiler, once per process.

import { execFile } from 'node:child_process'
import { chmodSync, closeSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { root, temporaryDirectory } from '../material.js'

/** Why libraries cannot be injected into another process here; false if they can. */
export const withoutPreload: string | false =
  process.platform === 'linux' ? false : 'native faults are injected with LD_PRELOAD as Linux has it'

const built = new Map<string, Promise<string>>()

/** @param name the source without `.c` @returns the path of the library, which any user can read */
export function buildLibrary(name: string): Promise<string> {
  const library = built.get(name) ?? compile(name)
  built.set(name, library)
  return library
}

async function compile(name: string): Promise<string> {
  const library = join(await readableDirectory(), `${name}.so`)
  const source = join(root, 'test/native-faults', `${name}.c`)
  await promisify(execFile)('cc', ['-shared', '-fPIC', '-O2', '-Wall', '-Werror', '-o', library, source])
  return library
}

async function readableDirectory(): Promise<string> {
  const directory = await temporaryDirectory()
  chmodSync(directory, 0o755)
  return directory
}

const numberBytes = 4

/** A file of 32-bit numbers that a library maps into its process. Any user can change it. */
export class Control {
  readonly #file: number

  private constructor(readonly path: string) {
    this.#file = openSync(path, 'r+')
  }

  static async create(numbers: number): Promise<Control> {
    const path = join(await readableDirectory(), 'control')
    writeFileSync(path, Buffer.alloc(numbers * numberBytes))
    chmodSync(path, 0o666)
    return new Control(path)
  }

  read(place: number): number {
    const value = new Uint32Array(1)
    readSync(this.#file, value, 0, numberBytes, place * numberBytes)
    return value[0] ?? 0
  }

  write(place: number, value: number): void {
    writeSync(this.#file, Uint32Array.of(value), 0, numberBytes, place * numberBytes)
  }

  close(): void {
    closeSync(this.#file)
  }
}
