// Page-locked memory for inputs that are copied to a CUDA device in every run. CUDA copies it several times faster than
// other memory. onnxruntime's binding cannot allocate it, so the CUDA runtime is called through koffi, which is optional.

export class PinnedMemory {
  readonly #allocated: unknown[] = []

  private constructor(private readonly cuda: CudaRuntime) {}

  /** Undefined if koffi or the CUDA runtime is not installed. Other memory is then used, and copies are slower. */
  static async open(): Promise<PinnedMemory | undefined> {
    const cuda = await cudaRuntime()
    return cuda && new PinnedMemory(cuda)
  }

  /**
   * Zeros in memory that belongs to CUDA. A thread that ends without release() leaks it. If it belonged to the thread, it
   * would be reused while CUDA still regards it as page-locked.
   * @returns undefined if the system does not allow to lock so much
   */
  allocate(bytes: number): ArrayBuffer | undefined {
    const memory: [unknown] = [null]
    if (bytes === 0 || this.cuda.allocate(memory, bytes) !== 0) return undefined
    this.#allocated.push(memory[0])
    const buffer = this.cuda.view(memory[0], bytes)
    new Uint8Array(buffer).fill(0)
    return buffer
  }

  /** Frees all memory. Nobody may use its buffers any more. */
  release(): void {
    for (const memory of this.#allocated.splice(0)) this.cuda.free(memory)
  }
}

interface CudaRuntime {
  /** Returns 0 if it stored the address of the memory in the list. */
  readonly allocate: (memory: [unknown], bytes: number) => number
  readonly free: (memory: unknown) => number
  readonly view: (memory: unknown, bytes: number) => ArrayBuffer
}

async function cudaRuntime(): Promise<CudaRuntime | undefined> {
  try {
    const { load, view } = await import('koffi')
    // onnxruntime's CUDA library needs this version too.
    const library = load('libcudart.so.13')
    return {
      allocate: library.func('int cudaMallocHost(_Out_ void **memory, size_t bytes)'),
      free: library.func('int cudaFreeHost(void *memory)'),
      view,
    }
  } catch {
    return undefined
  }
}
