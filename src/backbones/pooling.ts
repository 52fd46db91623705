// How the hidden states of a text become one vector.

/** `mean` of all tokens, the first token (`cls`), the largest value of all tokens in each dimension, or the last token. */
export const poolings = ['mean', 'cls', 'max', 'last'] as const
export type Pooling = (typeof poolings)[number]
