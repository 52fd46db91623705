// The prototype as a value: the one shared module whose weights every layer and every task masks.
// prototype-file.ts reads and writes it.

/** What a prototype is made of, as method.md names the three modules of the paper (section 3). */
export type ModuleConfig =
  | {
      readonly kind: 'adapter'
      readonly bottleneck: number
      readonly activation: 'relu' | 'gelu' | 'tanh'
      readonly scaling: number
    }
  | { readonly kind: 'lora'; readonly rank: number; readonly alpha: number }
  | { readonly kind: 'prefix'; readonly length: number }

export interface PrototypeTensor {
  readonly name: string
  readonly shape: readonly number[]
}

export interface Prototype {
  /** SHA-256 of the file: task files name it. */
  readonly digest: string
  /** SHA-256 of the backbone's weights that it was learned on. */
  readonly backbone: string
  readonly module: ModuleConfig
  readonly layers: number
  readonly hiddenSize: number
  /** n: how many weights a mask covers. */
  readonly maskableWeights: number
  /** Bytes of one mask: ⌈n/8⌉. */
  readonly maskBytes: number
  /** float32 values, maskable tensors and the others, by name. */
  readonly tensors: ReadonlyMap<string, Float32Array>
  /** Layer masks, [layers, ⌈n/8⌉] bytes; absent if tasks do not combine with any. */
  readonly layerMasks?: Uint8Array
  /** Ids of the tasks that it was learned on, if the file says so. */
  readonly learnedOn?: readonly string[]
}

/** The tensors of a module in the order in which mask bits count through them, and those no mask touches. */
export function moduleTensors(
  module: ModuleConfig,
  hiddenSize: number,
): { readonly maskable: readonly PrototypeTensor[]; readonly unmasked: readonly PrototypeTensor[] } {
  const H = hiddenSize
  switch (module.kind) {
    case 'adapter': {
      const r = module.bottleneck
      return {
        maskable: [
          { name: 'down.weight', shape: [r, H] },
          { name: 'up.weight', shape: [H, r] },
        ],
        unmasked: [
          { name: 'down.bias', shape: [r] },
          { name: 'up.bias', shape: [H] },
        ],
      }
    }
    case 'lora': {
      const r = module.rank
      const pair = (name: string) => [
        { name: `${name}.A`, shape: [r, H] },
        { name: `${name}.B`, shape: [H, r] },
      ]
      return { maskable: [...pair('query'), ...pair('value')], unmasked: [] }
    }
    case 'prefix':
      return { maskable: [{ name: 'base', shape: [module.length, 2 * H] }], unmasked: [] }
  }
}

export const elementCount = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1)

/** The tensor of a prototype that its kind guarantees. */
export function prototypeTensor(prototype: Prototype, name: string): Float32Array {
  const values = prototype.tensors.get(name)
  if (values === undefined) throw new Error(`a ${prototype.module.kind} prototype has no tensor "${name}"`)
  return values
}
