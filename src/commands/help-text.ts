// The part of a command's help that follows its options: what the command prints, notes, and examples.

import type { Command } from 'commander'

export interface HelpText {
  /** One sentence about what the command writes to standard output. */
  readonly prints: string
  readonly notes?: readonly string[]
  /** Command lines, without the prompt. */
  readonly examples: readonly string[]
}

export function addHelp(command: Command, { prints, notes = [], examples }: HelpText): Command {
  const heading = examples.length === 1 ? 'Example' : 'Examples'
  const commandLines = examples.map((example) => `  $ ${example}`)
  return command
    .addHelpText('after', () => `\n${[prints, ...notes].map((text) => wrapped(command, text)).join('\n\n')}`)
    .addHelpText('after', `\n${heading}:\n${commandLines.join('\n')}`)
}

/** Wraps a text to the width that commander wraps the options to. */
export const wrapped = (command: Command, text: string): string =>
  command.createHelp().boxWrap(text, command.configureOutput().getOutHelpWidth?.() ?? 80)
