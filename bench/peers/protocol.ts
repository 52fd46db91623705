// The messages between the comparison and a peer's process: one JSON object per line on stdin and stdout. A peer starts
// without tasks, and exits when its stdin closes.

/** A text for a peer. Task i has the module and the head of bundled task i mod their number. */
export interface PeerText {
  readonly task: number
  readonly text: string
  readonly textPair?: string
}

export type PeerRequest =
  /** Add tasks until there are this many. The response is one {@link TaskAdded} per task. */
  | { readonly grow: number }
  /** Compute the head outputs of each text. The response is {@link Logits}. */
  | { readonly logits: readonly PeerText[] }
  /** Compute all texts, at most `clients` at a time. The response is {@link LoadResult}. */
  | { readonly load: readonly PeerText[]; readonly clients: number }

export interface TaskAdded {
  /** Number of tasks so far. */
  readonly tasks: number
}

export interface Logits {
  readonly logits: readonly (readonly number[])[]
}

export interface LoadResult {
  readonly seconds: number
  /** One per text, from its submission to its result. */
  readonly latenciesMs: readonly number[]
}
