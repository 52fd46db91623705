// The exit codes of propetl, as in most programs.

export const exitCodes = { failure: 1, usageError: 2, interrupted: 130 } as const
