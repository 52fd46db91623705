// Errors that are reported to the user. Each kind has a stable code. They are thrown where the error is found. Only
// http/problems.ts turns them into responses, and cli.ts into lines on the terminal.

export type ProblemCode =
  // files
  | 'not_safetensors'
  | 'invalid_prototype'
  | 'invalid_task_file'
  | 'prototype_mismatch'
  | 'backbone_mismatch'
  | 'invalid_backbone'
  | 'unreadable_file'
  | 'unwritable_file'
  | 'invalid_data'
  | 'learning_diverged'
  | 'server_failed'
  | 'download_failed'
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
  | 'unknown_version'
  | 'version_in_use'
  | 'no_version'
  | 'no_report'
  | 'precondition_failed'
  | 'empty_text'
  | 'text_too_long'
  | 'text_pair_not_taken'
  | 'text_pair_missing'
  | 'threshold_not_taken'
  | 'too_many_inputs'
  | 'request_too_costly'
  | 'text_fails_engines'
  | 'no_version'
  | 'unknown_example'
  | 'unknown_request'
  | 'examples_deleted'
  | 'answer_too_large'
  // jobs
  | 'unknown_job'
  | 'no_examples'
  | 'job_exists'
  | 'job_finished'
  | 'too_many_jobs'
  | 'too_many_streams'
  | 'learning_disabled'
  | 'texts_not_kept'
  | 'suggestions_unsupported'
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
  // storage: after `outcome_unknown` the change may have been made; after the others it was not made
  | 'storage_failed'
  | 'storage_damaged'
  | 'storage_unavailable'
  | 'outcome_unknown'

/** An error for the user. The message says what is wrong, where, what was expected, and what to do. */
export class Problem extends Error {
  override readonly name = 'Problem'

  constructor(
    readonly code: ProblemCode,
    message: string,
    /** Values for programs: counts, limits, digests. */
    readonly details: Readonly<Record<string, unknown>> = {},
  ) {
    super(message)
  }
}

/** User input for a message: quoted, with control characters escaped, and shortened if it is long. */
export const quoted = (text: string, most = 80): string => JSON.stringify(shortened(text, most))

/** The first of some names for a message, each quoted, and the number of the others. */
export const quotedList = (names: readonly string[], most: number): string => {
  const shown = names.slice(0, most).map((name) => quoted(name))
  return names.length > most ? `${shown.join(', ')} and ${names.length - most} more` : shown.join(', ')
}

export const shortened = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most)}…` : text)

/** The message of an error. If several addresses of a host failed, that of the first one. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return reasonOf(error.errors[0])
  return error instanceof Error ? error.message : String(error)
}
