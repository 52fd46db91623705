// The command line of propetl. Each command imports its code only when it runs.

import { Command, CommanderError } from 'commander'
import { version } from '../package.js'
import { Problem } from '../problem.js'
import { addBackup } from './backup-options.js'
import { exitCodes } from './exit-codes.js'
import { addHelp } from './help-text.js'
import { Interrupted } from './interrupt.js'
import { addServe } from './serve-options.js'
import { addEmbeddings, addEvaluate, addInspect, addPredict } from './task-commands.js'
import { addTenantCommands } from './tenant-options.js'
import { addCheck, addLearn, addTrain } from './training-commands.js'

const program = new Command('propetl')
  .description('Serves many text classifiers with one frozen transformer and a few kilobytes of mask bits per task.')
  .version(version, '-V, --version', 'print the version')
  .showHelpAfterError('(run with --help for the usage and an example)')
  .helpOption('-h, --help', 'show the usage, the options and examples')
  .exitOverride()
addHelp(program, {
  prints: 'Run "propetl <command> --help" for the options of a command, what it prints, and examples.',
  notes: [
    `Exit code: 0 for success, ${exitCodes.failure} for a failure, ${exitCodes.usageError} for a wrong command line or ` +
      `setting, ${exitCodes.interrupted} if interrupted without a result.`,
  ],
  examples: ['propetl serve', 'propetl learn reviews.csv --out reviews.safetensors'],
})
addServe(program.commandsGroup('Serve:'))
program.commandsGroup('Train, evaluate and predict:')
addCheck(program)
addLearn(program)
addEvaluate(program)
addPredict(program)
addTrain(program)
addEmbeddings(program)
addInspect(program.commandsGroup('Administer:'))
addBackup(program)
addTenantCommands(program)
program.helpCommand('help [command]', 'show the help of a command')

// A reader such as "head" may close the pipe before everything is written.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit(0)
})
try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : exitCodes.usageError
  else if (error instanceof Interrupted) fail(error.message, exitCodes.interrupted)
  else if (error instanceof Problem)
    fail(error.message, error.code === 'invalid_setting' ? exitCodes.usageError : exitCodes.failure)
  else throw error
}

function fail(message: string, exitCode: number): void {
  console.error(`propetl: ${message}`)
  process.exitCode = exitCode
}
