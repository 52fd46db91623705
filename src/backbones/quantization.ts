// Weights of dense layers as eight-bit integers: symmetric, with a scale for each output, rounded to the nearest
// (Jacob et al. 2018, section 2; scales per channel as in Krishnamoorthi 2018, section 3).

export interface QuantizedWeight {
  /** [inputs, outputs]: the transposed of how PyTorch stores a weight, for that is how products take it. */
  readonly values: Int8Array
  /** [outputs]: what an integer of the output's column stands for. */
  readonly scales: Float32Array
}

/**
 * @param weight [outputs, inputs]
 * @param largest the magnitude that an output's largest weight gets: 127, or less where sums would overflow
 */
export function quantize(weight: Float32Array, outputs: number, largest: number): QuantizedWeight {
  const inputs = weight.length / outputs
  const values = new Int8Array(weight.length)
  const scales = new Float32Array(outputs)
  for (let o = 0; o < outputs; o++) {
    const row = weight.subarray(o * inputs, (o + 1) * inputs)
    let peak = 0
    for (const value of row) peak = Math.max(peak, Math.abs(value))
    // A row of zeros: any scale will do.
    const scale = Math.fround(peak / largest) || 1
    scales[o] = scale
    for (let i = 0; i < inputs; i++) values[i * outputs + o] = Math.round((row[i] ?? 0) / scale)
  }
  return { values, scales }
}
