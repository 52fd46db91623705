// What the caller is told when something cannot be done: each kind has a stable code. It is thrown where it is
// found; http/problems.ts alone makes an answer of it, and cli.ts a line on the terminal.

export type ProblemCode =
  // files
  | 'not_safetensors'
  | 'invalid_prototype'
  | 'invalid_task_file'
  | 'prototype_mismatch'
  | 'invalid_backbone'
  | 'unreadable_file'
  | 'unwritable_file'
  | 'invalid_data'
  | 'learning_diverged'
  | 'server_failed'
  // settings
  | 'invalid_setting'
  | 'provider_unavailable'
  // requests
  | 'invalid_request'
  | 'invalid_json'
  | 'unsupported_media_type'
  | 'expectation_failed'
  | 'body_too_large'
  | 'not_found'
  | 'method_not_allowed'
  | 'unknown_task'
  | 'invalid_task_id'
  | 'task_read_only'
  | 'precondition_failed'
  | 'empty_text'
  | 'text_too_long'
  | 'text_pair_not_taken'
  | 'threshold_not_taken'
  | 'too_many_inputs'
  | 'request_too_costly'
  | 'text_fails_engines'
  | 'answer_too_large'
  // tenants
  | 'unauthenticated'
  | 'forbidden'
  | 'unknown_tenant'
  | 'invalid_tenant_id'
  | 'tenant_leaving'
  | 'unknown_key'
  | 'last_operator_key'
  | 'quota_exceeded'
  | 'rate_limited'
  // load
  | 'overloaded'
  | 'deadline_exceeded'
  | 'client_closed_request'
  | 'request_timeout'
  | 'headers_too_large'
  | 'not_ready'
  | 'engine_lost'
  | 'shutting_down'
  // storage: with `outcome_unknown` a change may have been made, with the others it was not
  | 'storage_failed'
  | 'storage_damaged'
  | 'storage_unavailable'
  | 'outcome_unknown'

/** An error for the one who asked. The message says what was wrong, where, and what was expected. */
export class Problem extends Error {
  override readonly name = 'Problem'

  constructor(
    readonly code: ProblemCode,
    message: string,
    /** Figures a program can read: counts, limits, digests. */
    readonly details: Readonly<Record<string, unknown>> = {},
  ) {
    super(message)
  }
}

/** Somebody else's text in a message: in quotes, what cannot be printed escaped, and cut where it is long. */
export const quoted = (text: string, most = 80): string => JSON.stringify(shortened(text, most))

export const shortened = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most)}…` : text)
