import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { loadConfig, readConfig, unknownVariables } from '../src/config.js'
import { environmentVariableOf, flagOf, settingNames } from '../src/settings.js'
import { settingsTables } from '../src/settings-tables.js'
import { root, temporaryDirectory } from './material.js'

describe('settings', () => {
  test('a flag takes precedence over an environment variable, and both over the default', () => {
    const environment = { PROPETL_PORT: '9000', PROPETL_MAX_INPUTS: '7' }
    const config = readConfig({ port: '9100' }, environment)
    assert.deepEqual([config.port, config.maxInputs, config.host], [9100, 7, '127.0.0.1'])
  })

  test('accept auto for numbers that the server can choose', () => {
    assert.equal(readConfig({}, {}).maxBatchTokens, 'auto')
    assert.equal(readConfig({ maxBatchTokens: 'auto' }, { PROPETL_MAX_BATCH_TOKENS: '64' }).maxBatchTokens, 'auto')
    assert.equal(readConfig({}, { PROPETL_MAX_BATCH_TOKENS: '64' }).maxBatchTokens, 64)
  })

  test('have the names that operators script against', () => {
    const names = settingNames.map((name) => [flagOf(name), environmentVariableOf(name)].join(' '))
    for (const name of ['host', 'port', 'model-dir', 'masks-dir', 'data-dir', 'provider'])
      assert.ok(names.includes(`--${name} PROPETL_${name.toUpperCase().replace('-', '_')}`))
  })

  const refused: [Record<string, string>, Record<string, string>, RegExp][] = [
    [{ port: '-1' }, {}, /^--port is "-1"; expected a whole number from 0 to 65535$/],
    [{ port: '1e3' }, {}, /--port is "1e3"/],
    ...['tcp://10.96.14.7:80', 'udp://10.0.0.1:53', 'tcp://[fd00::1]:80'].map(
      (link): [Record<string, string>, Record<string, string>, RegExp] => [
        {},
        { PROPETL_PORT: link },
        /^PROPETL_PORT is "(tcp|udp):.*"; expected a whole number\. Kubernetes .* \(service links\): set "enableServiceLinks: false"/,
      ],
    ),
    [{ port: 'tcp://10.96.14.7:80' }, {}, /^--port is "tcp:.*"; expected a whole number from 0 to 65535$/],
    [{}, { PROPETL_SLOTS: '0' }, /^PROPETL_SLOTS is "0"; expected a whole number from 1/],
    [{}, { PROPETL_HOST: '' }, /PROPETL_HOST is ""; expected a non-empty value/],
    [{ logLevel: 'loud' }, {}, /--log-level is "loud"; expected fatal \|/],
    [
      {},
      { PROPETL_DATABASE_URL: 'mysql://a:b@c/d' },
      /^PROPETL_DATABASE_URL is not a URL that begins with postgres:\/\/$/,
    ],
    [{}, { PROPETL_INSECURE: 'yes' }, /^PROPETL_INSECURE is "yes"; expected true \| false$/],
    [
      { corsOrigins: 'https://a.example, https://b.example/' },
      {},
      /^--cors-origins is .*; expected origins like https/,
    ],
    [{ headersTimeoutMs: '2000', receiveTimeoutMs: '1000' }, {}, /--headers-timeout-ms is 2000; expected at most/],
    [{ tlsKey: 'key.pem' }, {}, /^--tls-cert and --tls-key must be given together; only one is set$/],
    [{}, { PROPETL_OPERATOR_KEY: 'short' }, /^PROPETL_OPERATOR_KEY has 5 characters; expected 32 or more, ASCII/],
    [{ maxBatchTokens: 'all' }, {}, /^--max-batch-tokens is "all"; expected auto, or a whole number from 1 to/],
    [{ maxInputs: '10000' }, {}, /--max-inputs is 10000; expected at most --max-queue-rows = 8192/],
  ]
  for (const [flags, environment, message] of refused)
    test(`rejects ${JSON.stringify({ ...flags, ...environment })}`, () => {
      assert.throws(() => readConfig(flags, environment), { code: 'invalid_setting', message })
    })

  test('are parsed as lists, switches and secrets', () => {
    const config = readConfig({ corsOrigins: 'https://a.example, http://localhost:3000', insecure: 'true' }, {})
    assert.deepEqual([config.corsOrigins, config.insecure], [['https://a.example', 'http://localhost:3000'], true])
    const { operatorKey, tlsCert } = readConfig({}, { PROPETL_OPERATOR_KEY: 'x'.repeat(32) })
    assert.deepEqual([operatorKey, tlsCert], ['x'.repeat(32), undefined])
  })

  test('are also read from a settings file, which flags and environment variables override', async () => {
    const settingsFile = join(await temporaryDirectory(), 'settings')
    const lines = [
      '# Of the server',
      '',
      'PROPETL_PORT = 1',
      'export PROPETL_SLOTS="2" ',
      "PROPETL_HOST='::1'",
      'PROPETL_ENGINES=3',
    ]
    await writeFile(settingsFile, lines.join('\r\n'))
    const { port, slots, host, engines } = loadConfig({ settingsFile, slots: '20' }, { PROPETL_ENGINES: '30' })
    assert.deepEqual([port, slots, host, engines], [1, 20, '::1', 30])
    assert.equal(loadConfig({}, { PROPETL_SETTINGS_FILE: settingsFile }).slots, 2)

    for (const wrong of ['PROPETL_PROT=1', 'PORT=1', 'PROPETL_PORT', 'PROPETL_SETTINGS_FILE=other']) {
      await writeFile(settingsFile, `# Of the server\n${wrong}\n`)
      const message = `${settingsFile}, line 2: expected a setting like PROPETL_LOG_LEVEL=debug`
      assert.throws(() => loadConfig({ settingsFile }, {}), { code: 'invalid_setting', message })
    }
    const missing = { code: 'invalid_setting', message: /^the settings file \/nowhere cannot be read: ENOENT/ }
    assert.throws(() => loadConfig({ settingsFile: '/nowhere' }, {}), missing)
  })

  test('are in docs/settings.md as they are in the program (npm run generate writes it)', () => {
    assert.ok(readFileSync(join(root, 'docs/settings.md'), 'utf8').includes(settingsTables()))
  })
})

test('misspelt PROPETL_ variables are reported; those that Kubernetes sets are not', () => {
  const environment = {
    PATH: '/bin',
    PROPETL_PORT: '8080',
    PROPETL_OPERATOR_KEY: 'k',
    PROPETL_KEY: 'k',
    PROPETL_PROT: '9000',
    PROPETL_MAX_BODY: '1',
    PROPETL_SERVICE_HOST: '10.0.0.1',
    PROPETL_SERVICE_PORT_HTTP: '80',
    PROPETL_PORT_80_TCP: 'tcp://10.0.0.1:80',
  }
  assert.deepEqual(unknownVariables(environment), ['PROPETL_PROT', 'PROPETL_MAX_BODY'])
})
