// Makes NVIDIA GPUs compute float32 in full precision.

/**
 * By default cuBLAS computes float32 in TF32 on tensor cores, with 10 bits of mantissa instead of 23. An environment variable
 * turns this off; a value that the user has set is kept. Call this on the main thread before the first session is created:
 * worker threads only have copies of the environment.
 */
export function disableTf32(): void {
  process.env.NVIDIA_TF32_OVERRIDE ??= '0'
}
