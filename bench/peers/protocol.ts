// What the comparison and a peer's process say to each other: a line of JSON each, on the peer's stdin and stdout. A peer
// begins without a task, and ends with its input.

/** A text for a peer. Task i has the module and the head of bundled task i mod their number. */
export interface PeerText {
  readonly task: number
  readonly text: string
  readonly textPair?: string
}

export type PeerRequest =
  /** Take on tasks until there are so many; answered with {@link Grown} after each. */
  | { readonly grow: number }
  /** Answered with the head outputs of each text: {@link Logits}. */
  | { readonly logits: readonly PeerText[] }
  /** Answer all texts, never more than `clients` at a time: {@link Loaded}. */
  | { readonly load: readonly PeerText[]; readonly clients: number }

export interface Grown {
  readonly tasks: number
}

export interface Logits {
  readonly logits: readonly (readonly number[])[]
}

export interface Loaded {
  readonly seconds: number
  /** From a text's turn to its answer, one for each text. */
  readonly latenciesMs: readonly number[]
}
