// The tables of docs/settings.md.

import {
  environmentVariableOf,
  flagOf,
  type SettingName,
  type SettingOf,
  type SettingValue,
  settingGroups,
  settingNames,
  settings,
} from './settings.js'

/** In Markdown: one table for each group. */
export const settingsTables = (): string =>
  settingGroups
    .map((group) => {
      const names = settingNames.filter((name) => settings[name].group === group)
      return [
        `## ${group}\n`,
        '| Flag | Environment variable | Default | Meaning |',
        '|---|---|---|---|',
        ...names.map(settingRow),
      ].join('\n')
    })
    .join('\n\n')

function settingRow(name: SettingName): string {
  const { kind, meaning, shown }: SettingOf<SettingValue> = settings[name]
  const choices = kind.kind === 'choice' ? ` (${kind.choices.join(' \\| ')})` : ''
  const value = shown ?? `\`${settings[name].value}\`${choices}`
  const flag = kind.kind === 'secret' ? '' : `\`${flagOf(name)}\` `
  return `| ${flag}| \`${environmentVariableOf(name)}\` | ${value} | ${meaning} |`
}
