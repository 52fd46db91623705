// The command `propetl backup`: its options and help.

import type { Command } from 'commander'
import { dataDirOption } from './data-directory.js'
import { addHelp } from './help-text.js'

export function addBackup(program: Command): void {
  const backup = program
    .command('backup')
    .description('copy the tasks, tenants and keys of a data directory to one file, even while a server uses it')
    .argument('<file>', 'file to write; it must not exist')
    .addOption(dataDirOption())
    .action(async (file: string, flags: { dataDir: string }) => {
      const { backup } = await import('./backup.js')
      console.log(await backup(file, flags))
    })
  addHelp(backup, {
    prints: 'Prints the size of the file.',
    notes: [
      'To restore, copy the file into an empty data directory as tasks.lmdb, and start a server on that directory.',
    ],
    examples: ['propetl backup --data-dir /var/lib/propetl "tasks-$(date +%F).lmdb"'],
  })
}
