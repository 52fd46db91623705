// The command `propetl serve`: its options are the settings of a server.

import type { Command } from 'commander'
import { loadConfig, unknownVariables } from '../config.js'
import { environmentVariableOf, flagOf, settingGroups, settingNames, settings, shownDefault } from '../settings.js'
import { addHelp } from './help-text.js'

export function addServe(program: Command): void {
  const serve = addHelp(program.command('serve').description('serve the model and its tasks over HTTP'), {
    prints: 'Prints its log: one JSON object per line, or plain lines on a terminal. The line "ready" has the address.',
    notes: [
      'Every option can also be set by an environment variable: --max-inputs by PROPETL_MAX_INPUTS. An option takes ' +
        'precedence over its variable, and the variable over the settings file. The operator key is set only by ' +
        `${environmentVariableOf('operatorKey')}, because other users of the machine can see command lines.`,
    ],
    examples: [
      'propetl serve --port 9000 --data-dir /var/lib/propetl',
      'curl localhost:9000/tasks/sst2/predict -H \'content-type: application/json\' -d \'{"inputs":"a gorgeous film"}\'',
    ],
  })
  for (const group of settingGroups) {
    serve.optionsGroup(`${group}:`)
    for (const name of settingNames) {
      const { group: groupOfSetting, kind, meaning } = settings[name]
      if (groupOfSetting !== group || kind.kind === 'secret') continue
      const choices = kind.kind === 'choice' ? ` One of: ${kind.choices.join(', ')}.` : ''
      const value = kind.kind === 'switch' ? '' : ` <${kind.kind === 'whole' ? 'number' : 'value'}>`
      const flags = name === 'modelDir' ? `--model, ${flagOf(name)}` : flagOf(name)
      serve.option(`${flags}${value}`, `${meaning}${choices} (default: ${shownDefault(name)})`)
    }
  }
  serve.action(async (given: Record<string, string | true>) => {
    const flags = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, String(value)]))
    const load = () => loadConfig(flags, process.env)
    const config = load()
    const unknown = unknownVariables(process.env)
    if (unknown.length > 0)
      console.error(
        `propetl: ${unknown.join(', ')}: no such setting; it has no effect (\`propetl serve --help\` lists them)`,
      )
    const { checkModel } = await import('./model-directory.js')
    checkModel(config)
    const { serve } = await import('./serve.js')
    await serve(config, load)
  })
}
