// What float32 means on a GPU.

/**
 * On NVIDIA's tensor cores cuBLAS takes TF32 for float32, with 10 bits of mantissa for 23, unless the environment of the
 * process says otherwise. To be called on the main thread, for other threads have copies of the environment, and before the
 * first session is made there. Who set the variable knows why.
 */
export function disableTf32(): void {
  process.env.NVIDIA_TF32_OVERRIDE ??= '0'
}
