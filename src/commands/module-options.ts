// The options of `propetl train` that describe the module: those of all kinds, from the table of kinds.

import { type Command, Option } from 'commander'
import { completeConfig, type ModuleConfig, type ModuleKind, moduleKinds, petlKinds } from '../petl/kinds.js'
import type { ModuleOption } from '../petl/module.js'
import { Problem } from '../problem.js'
import { flagOf } from '../settings.js'
import { positive, whole } from './training-options.js'

/** The option of each setting that has one. */
const optionsOf = (kind: ModuleKind): readonly (readonly [setting: string, option: ModuleOption])[] =>
  Object.entries(petlKinds[kind].options)

function commandOption({ flags, meaning, value }: ModuleOption): Option {
  const option = new Option(flags, meaning)
  if (typeof value === 'object') return option.choices(value)
  return option.argParser(value === 'size' ? whole(1, 100_000) : positive)
}

export function addModuleOptions(command: Command): Command {
  command.addOption(new Option('--module <kind>', 'kind of module').choices(moduleKinds).default('adapter'))
  for (const [, option] of moduleKinds.flatMap(optionsOf)) command.addOption(commandOption(option))
  return command
}

/**
 * The module that options describe.
 * @param flags all options of the command, by attribute
 * @throws Problem `invalid_setting` for an option of another kind of module
 */
export function moduleOf(flags: { readonly module: ModuleKind }): ModuleConfig {
  const values = new Map<string, unknown>(Object.entries(flags))
  const givenFor = (option: ModuleOption) => values.get(commandOption(option).attributeName())
  for (const kind of moduleKinds)
    for (const [, option] of optionsOf(kind))
      if (kind !== flags.module && givenFor(option) !== undefined)
        throw new Problem(
          'invalid_setting',
          `${flagOf(commandOption(option).attributeName())} needs --module ${kind}; this run has --module ${flags.module}`,
        )
  // The parsers of the options made the values of these types.
  const given = Object.fromEntries(optionsOf(flags.module).map(([setting, option]) => [setting, givenFor(option)]))
  return completeConfig(flags.module, given)
}
