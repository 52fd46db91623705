// The commands of `propetl tenants`, and how their flags are checked.

import { type Command, InvalidArgumentError, Option } from 'commander'
import { environmentVariableOf, settings } from '../config.js'
import { maxLimit, maxShare } from '../tenants/tenant.js'
import type { KeyFlags, StoreFlags, TenantFlags } from './tenants.js'
import { whole } from './training-options.js'

const dayMs = 24 * 60 * 60 * 1000
const commands = () => import('./tenants.js')

const limit = (min: number) => (given: string) => (given === 'none' ? given : whole(min, maxLimit)(given))

/** A time as it is, and a count of days from now. */
function expiry(given: string): string {
  const days = /^([1-9]\d{0,4})d$/.exec(given)?.[1]
  if (days !== undefined) return new Date(Date.now() + Number(days) * dayMs).toISOString()
  if (Number.isNaN(Date.parse(given)))
    throw new InvalidArgumentError('Expected days like 90d, or a time like 2027-01-01T00:00:00Z.')
  return given
}

export function addTenantCommands(program: Command): void {
  const tenants = program
    .command('tenants')
    .description('manage tenants and their keys on a data directory, also of a server that runs')
    .addHelpText(
      'after',
      '\nAn <owner> of keys is a tenant; or operator, for keys that manage tenants; or metrics, for keys that read /metrics.\n' +
        '\nExample:\n' +
        '  $ propetl tenants create-key operator\n' +
        '  $ propetl tenants set acme --tasks 1000 --requests-per-second 50\n' +
        '  $ propetl tenants create-key acme --expires 90d',
    )
  const on = (command: Command): Command =>
    command
      .addOption(
        new Option('--data-dir <dir>', 'directory that the server stores in')
          .default(settings.dataDir.value)
          .env(environmentVariableOf('dataDir')),
      )
      .option('--json', 'print JSON')
  const add = (usage: string, description: string): Command => on(tenants.command(usage).description(description))

  add('set <tenant>', 'make a tenant, or change limits of one; "none" lifts a limit')
    .option('--tasks <number>', 'tasks it may have', limit(0))
    .option('--bytes <number>', 'bytes of its task files together', limit(0))
    .option('--requests-per-second <number>', 'requests a second, at each replica of the server', limit(1))
    .option('--tokens-per-second <number>', 'tokens of texts a second, at each replica of the server', limit(1))
    .option(
      '--share <weight>',
      "weight of its turns at the engine, against other tenants' (default: 1)",
      whole(1, maxShare),
    )
    .action(async (tenant: string, flags: TenantFlags) =>
      console.log(await (await commands()).setTenant(tenant, flags)),
    )
  add('list', 'list the tenants, with what they use of their limits').action(async (flags: StoreFlags) =>
    console.log(await (await commands()).listTenants(flags)),
  )
  add('remove <tenant>', 'remove a tenant with its keys and tasks').action(async (tenant: string, flags: StoreFlags) =>
    console.log(await (await commands()).deleteTenant(tenant, flags)),
  )
  add('create-key <owner>', 'make a key, and print it; nobody can print it again')
    .option('--expires <when>', 'days like 90d, or a time like 2027-01-01T00:00:00Z (default: never)', expiry)
    .option('--description <text>', 'where it is used')
    .action(async (owner: string, flags: KeyFlags) => console.log(await (await commands()).createKey(owner, flags)))
  add('keys <owner>', 'list the keys of an owner, without what is secret of them').action(
    async (owner: string, flags: StoreFlags) => console.log(await (await commands()).listKeys(owner, flags)),
  )
  add('revoke-key <owner> <key>', 'revoke a key by its id, at once').action(
    async (owner: string, key: string, flags: StoreFlags) =>
      console.log(await (await commands()).revokeKey(owner, key, flags)),
  )
}
