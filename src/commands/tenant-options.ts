// The commands of `propetl tenants` and the checks of their options.

import { type Command, InvalidArgumentError } from 'commander'
import { maxLimit, maxShare } from '../tenants/tenant.js'
import { dataDirOption } from './data-directory.js'
import { addHelp, type HelpText } from './help-text.js'
import type { KeyFlags, StoreFlags, TenantFlags } from './tenants.js'
import { whole } from './training-options.js'

const dayMs = 24 * 60 * 60 * 1000
const commands = () => import('./tenants.js')

const limit = (min: number) => (given: string) => (given === 'none' ? given : whole(min, maxLimit)(given))

/** Parses a time, or a number of days from now. */
function expiry(given: string): string {
  const days = /^([1-9]\d{0,4})d$/.exec(given)?.[1]
  if (days !== undefined) return new Date(Date.now() + Number(days) * dayMs).toISOString()
  if (Number.isNaN(Date.parse(given)))
    throw new InvalidArgumentError('Expected days like 90d, or a time like 2027-01-01T00:00:00Z.')
  return given
}

export function addTenantCommands(program: Command): void {
  const tenants = addHelp(
    program
      .command('tenants')
      .description('manage the tenants and API keys of a data directory, even while a server uses it'),
    {
      prints: 'Each command prints its result; changes also write a line of the audit trail to standard error.',
      notes: [
        'The <owner> of a key is a tenant; or operator, for keys that manage tenants; or metrics, for keys that read /metrics.',
      ],
      examples: [
        'propetl tenants create-key operator',
        'propetl tenants set acme --tasks 1000 --requests-per-second 50',
        'propetl tenants create-key acme --expires 90d',
      ],
    },
  )
  const on = (command: Command): Command =>
    command.addOption(dataDirOption()).option('--json', 'print the result as JSON')
  const add = (usage: string, description: string, help: HelpText): Command =>
    addHelp(on(tenants.command(usage).description(description)), help)

  add('set <tenant>', 'create a tenant, or change limits of one; "none" removes a limit', {
    prints: 'Prints the tenant, with its usage and limits.',
    examples: ['propetl tenants set acme --tasks 1000 --requests-per-second 50'],
  })
    .option('--tasks <number>', 'most tasks', limit(0))
    .option('--bytes <number>', 'most bytes of all its task files and examples', limit(0))
    .option('--examples <number>', 'most examples of all its tasks', limit(0))
    .option('--requests-per-second <number>', 'requests per second, at each replica of the server', limit(1))
    .option('--tokens-per-second <number>', 'tokens of texts per second, at each replica of the server', limit(1))
    .option(
      '--share <weight>',
      "weight of its turns at the engine, relative to other tenants' (default: 1)",
      whole(1, maxShare),
    )
    .action(async (tenant: string, flags: TenantFlags) =>
      console.log(await (await commands()).setTenant(tenant, flags)),
    )
  add('list', 'list the tenants', {
    prints: 'Prints the tenants, with their usage and limits.',
    examples: ['propetl tenants list --data-dir /var/lib/propetl'],
  }).action(async (flags: StoreFlags) => console.log(await (await commands()).listTenants(flags)))
  add('remove <tenant>', 'remove a tenant with its keys and tasks', {
    prints: 'Prints the number of tasks that were removed.',
    examples: ['propetl tenants remove acme'],
  }).action(async (tenant: string, flags: StoreFlags) =>
    console.log(await (await commands()).deleteTenant(tenant, flags)),
  )
  add('create-key <owner>', 'create an API key', {
    prints: 'Prints the key. It cannot be printed again, because only its hash is stored.',
    examples: ['propetl tenants create-key operator', 'propetl tenants create-key acme --expires 90d'],
  })
    .option('--expires <when>', 'days like 90d, or a time like 2027-01-01T00:00:00Z (default: never)', expiry)
    .option('--description <text>', 'note about the use of the key')
    .action(async (owner: string, flags: KeyFlags) => console.log(await (await commands()).createKey(owner, flags)))
  add('keys <owner>', 'list the API keys of an owner', {
    prints: 'Prints the ids of the keys and their terms, without the secrets.',
    examples: ['propetl tenants keys acme'],
  }).action(async (owner: string, flags: StoreFlags) => console.log(await (await commands()).listKeys(owner, flags)))
  add('revoke-key <owner> <key>', 'revoke an API key by its id, with immediate effect', {
    prints: 'Prints the id of the key.',
    examples: ['propetl tenants revoke-key acme $(propetl tenants keys acme --json | jq -r .[0].id)'],
  }).action(async (owner: string, key: string, flags: StoreFlags) =>
    console.log(await (await commands()).revokeKey(owner, key, flags)),
  )
}
