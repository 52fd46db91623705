import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { matches, stepsOf } from './transcript.js'

describe('the commands of a page', () => {
  test('are those of console and sh blocks, with their output', () => {
    const page = [
      'Text with `$ a`',
      '```sh',
      'npm ci',
      'npm start',
      '```',
      '```json',
      '$ no command',
      '```',
      '```console',
      '$ curl a \\',
      "    -d '{",
      "    }'",
      'first',
      'second',
      '$ true',
      '```',
    ].join('\n')
    assert.deepEqual(stepsOf(page), [
      { line: 3, command: 'npm ci', output: '' },
      { line: 4, command: 'npm start', output: '' },
      { line: 10, command: "curl a \\\n    -d '{\n    }'", output: 'first\nsecond' },
      { line: 15, command: 'true', output: '' },
    ])
  })
})

describe('shown output', () => {
  const cases: [string, string, boolean][] = [
    ['{"a":1,\n "b":2}', '{"a":1,"b":2}', true],
    ['version "987f…"', 'version "987fee36"', true],
    ['score 0.95 of …', 'score 0.9 of 20', true],
    ['score 0.95', 'score 0.7', false],
    ['took 3 s', 'took 4 s', false],
    ['all of it', 'all of it and more', false],
    ['…\nlast', 'one\ntwo\nlast', true],
  ]
  for (const [shown, printed, fits] of cases)
    test(`${JSON.stringify(shown)} ${fits ? 'matches' : 'does not match'} ${JSON.stringify(printed)}`, () =>
      assert.equal(matches(shown, printed), fits))
})
