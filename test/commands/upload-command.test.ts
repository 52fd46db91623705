import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { uploadCommand } from '../../src/commands/upload-command.js'

/** The arguments that curl gets from a shell. */
const argumentsOf = (file: string, env: Record<string, string> = {}): string[] =>
  execFileSync('sh', ['-c', uploadCommand(file, env)[0].replace(/^curl/, "printf '%s\\n'")], { env, encoding: 'utf8' })
    .trimEnd()
    .split('\n')

const urlOf = (file: string, env?: Record<string, string>) => argumentsOf(file, env).at(-1)

test('uploads the file to the default server under its own name', () => {
  assert.deepEqual(argumentsOf('models/tickets.safetensors'), [
    ...['-X', 'PUT', '--data-binary', '@models/tickets.safetensors', 'localhost:8080/tasks/tickets'],
  ])
  assert.match(
    uploadCommand('a', {})[1],
    /^\(for a server at localhost:8080; if it requires an API key, set PROPETL_KEY/,
  )
})

test('uses the address, the scheme and the key of the environment', () => {
  assert.equal(urlOf('a.safetensors', { PROPETL_PORT: '9000', PROPETL_HOST: '0.0.0.0' }), 'localhost:9000/tasks/a')
  assert.equal(urlOf('a.safetensors', { PROPETL_HOST: 'fd00::1' }), '[fd00::1]:8080/tasks/a')
  const tls = { PROPETL_TLS_CERT: 'cert.pem', PROPETL_TLS_KEY: 'key.pem', PROPETL_HOST: 'models.example.com' }
  assert.equal(urlOf('a.safetensors', tls), 'https://models.example.com:8080/tasks/a')
  const withKey = argumentsOf('a.safetensors', { PROPETL_KEY: 'secret' })
  assert.deepEqual(withKey.slice(2, 4), ['-H', 'authorization: Bearer secret'])
  assert.doesNotMatch(uploadCommand('a', { PROPETL_KEY: 'secret' }).join('\n'), /secret/)
})

test('assumes the default server if the environment has an invalid setting', () =>
  assert.equal(urlOf('a.safetensors', { PROPETL_PORT: 'tcp://10.0.0.1:80' }), 'localhost:8080/tasks/a'))

test('derives a valid task id from any file name, and quotes the file name', () => {
  const file = "Bob's reviews (2).safetensors"
  assert.deepEqual(argumentsOf(file).slice(-2), [`@${file}`, 'localhost:8080/tasks/bob-s-reviews-2'])
  assert.equal(urlOf(`${'x'.repeat(80)}.safetensors`), `localhost:8080/tasks/${'x'.repeat(64)}`)
  assert.equal(urlOf('_Ü.safetensors'), 'localhost:8080/tasks/task')
})
