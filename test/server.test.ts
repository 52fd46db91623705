// `propetl serve` and `propetl inspect` in processes of their own.

import assert from 'node:assert/strict'
import { type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { digestOf } from '../src/formats/digest.js'
import type { ClassificationResponse } from './http/running.js'
import { masksDir, modelDir, root, shiftedTask, taskBytes, temporaryDirectory } from './material.js'
import { cli, failedStart, outputOf, predict, predictionOf, put, serve, serveAny, start } from './server-process.js'

const sst2 = taskBytes('sst2')
const piped: SpawnOptions = { stdio: ['ignore', 'pipe', 'pipe'] }

describe('a server process', () => {
  test('has every acknowledged upload and removal after SIGKILL and a restart', async () => {
    const dataDir = await temporaryDirectory()
    const first = await serve(dataDir)
    for (let i = 0; i < 10; i++) assert.equal((await put(first.url, `t${i}`, shiftedTask(sst2, i))).status, 201)
    assert.equal((await fetch(`${first.url}/tasks/t3`, { method: 'DELETE' })).status, 204)
    first.process.kill('SIGKILL')
    await first.exit
    const second = await serve(dataDir)
    const [score = Number.NaN] = (await predictionOf(await predict(second.url, 'sst2'))).predictions.map(
      (each) => each.scores[0]?.score,
    )
    for (let i = 0; i < 10; i++) {
      const response = await predict(second.url, `t${i}`)
      if (i === 3) assert.equal(response.status, 404)
      else {
        const { version, predictions } = await predictionOf(response)
        assert.equal(version, digestOf(shiftedTask(sst2, i)))
        assert.ok(Math.abs((predictions[0]?.scores[0]?.score ?? 0) - score - i) < 1e-3)
      }
    }
    second.process.kill('SIGTERM')
    assert.deepEqual(await second.exit, [0, null])
  })

  test('predicts with the old or the new version while a task is replaced, and names the version', async () => {
    const { url, process: child, exit } = await serve(await temporaryDirectory(), '--engines', '2')
    const versions = [0, 100, 200].map((shift) => shiftedTask(sst2, shift))
    const [base = Number.NaN] = (await predictionOf(await predict(url, 'sst2'))).predictions.map(
      (each) => each.scores[0]?.score,
    )
    await put(url, 'moving', versions[0] ?? sst2)
    let replacing = true
    const replacer = (async () => {
      for (let round = 0; round < 60; round++)
        assert.equal((await put(url, 'moving', versions[round % 3] ?? sst2)).status, 200)
      replacing = false
    })()
    const seen = new Set<number>()
    const reader = async () => {
      while (replacing) {
        const { version, predictions } = await predictionOf(await predict(url, 'moving'))
        const index = versions.findIndex((file) => digestOf(file) === version)
        assert.ok(
          Math.abs((predictions[0]?.scores[0]?.score ?? 0) - base - index * 100) < 1e-3,
          'the prediction is not from the version that the response names',
        )
        seen.add(index)
      }
    }
    await Promise.all([replacer, ...Array.from({ length: 8 }, reader)])
    assert.ok(seen.size > 1)
    child.kill('SIGTERM')
    assert.deepEqual(await exit, [0, null])
  })

  test('finishes accepted requests after SIGTERM, refuses later connections, and exits 0', async () => {
    const { url, process: child, exit } = await serve(await temporaryDirectory(), '--engines', '2')
    const inputs = Array.from({ length: 250 }, (_, i) => `a gorgeous film, number ${i}, and a rather long sentence`)
    const accepted = fetch(`${url}/tasks/sst2/predict`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ inputs }),
    })
    const queued = async () =>
      Number(/^propetl_queue_rows (\d+)$/m.exec(await (await fetch(`${url}/metrics`)).text())?.[1])
    while ((await queued()) < 50) await new Promise((resolve) => setTimeout(resolve, 5))
    child.kill('SIGTERM')
    const response = await accepted
    assert.equal(response.status, 200)
    assert.equal((await predictionOf(response)).predictions.length, inputs.length)
    assert.deepEqual(await exit, [0, null])
    await assert.rejects(predict(url, 'sst2'))
  })

  const failures: [what: string, flags: string[], exitCode: number, message: RegExp][] = [
    [
      'a port that is not a number',
      ['--port', 'eighty'],
      2,
      /--port is "eighty"; expected a whole number from 0 to 65535/,
    ],
    ['an unknown provider', ['--provider', 'tpu'], 2, /--provider is "tpu"; expected auto \| cuda \| webgpu \| cpu/],
    [
      'CUDA without its libraries',
      ['--provider', 'cuda'],
      1,
      /provider "cuda" does not load here: .*cuDNN.*docs\/backbones\.md says how/,
    ],
    [
      'a masks directory that contains another file',
      ['--masks-dir', modelDir],
      1,
      /model\.safetensors: metadata "format" is "pt"; expected propetl-task\/1/,
    ],
  ]
  for (const [what, flags, exitCode, message] of failures)
    test(`does not start with ${what}, and says why`, async () => {
      const child = start([], ['--data-dir', await temporaryDirectory(), ...flags], piped)
      const { code, output } = await failedStart(child)
      assert.equal(code, exitCode)
      assert.match(output.trimEnd().split('\n').at(-1) ?? '', message)
    })

  test('does not start on a port that is in use', async () => {
    const first = await serve(await temporaryDirectory())
    const { port } = new URL(first.url)
    const second = start([], ['--port', port, '--data-dir', await temporaryDirectory()], piped)
    const output = outputOf(second)
    assert.deepEqual(await once(second, 'close'), [1, null])
    const lines = output().trimEnd().split('\n')
    const { level, code, msg } = JSON.parse(lines.at(-1) ?? '') as Record<string, unknown>
    assert.deepEqual([level, code], [60, 'invalid_setting'])
    const message = `the server did not start: cannot listen on 127.0.0.1:${port}: .*EADDRINUSE`
    assert.match(String(msg), new RegExp(message))
    assert.equal(lines.filter((line) => /EADDRINUSE/.test(line)).length, 1)
    assert.doesNotMatch(output(), /finishing accepted requests/)
  })
})

describe('the bundled tasks', () => {
  const expected: readonly (readonly [task: string, inputs: unknown, label: string])[] = [
    ['sst2', 'a gorgeous, witty film', 'positive'],
    ['sst2', 'dull and far too long', 'negative'],
    ['customer_reviews', 'the battery life is excellent', 'positive'],
    ['customer_reviews', 'it stopped working after two days and support was useless', 'negative'],
    ['mpqa', 'full of admiration', 'positive'],
    ['trec', 'Who wrote Dune?', 'human'],
    ['trec', 'How many moons does Jupiter have?', 'number'],
    ['banking77', 'My card was stolen yesterday', 'lost_or_stolen_card'],
    ['clinc150', 'what is the weather going to be tomorrow', 'weather'],
    ['mrpc', { text: 'He left on Monday.', text_pair: 'On Monday he left.' }, 'paraphrase'],
    ['sick_entailment', { text: 'A man is playing a guitar', text_pair: 'A man is playing a guitar' }, 'entailment'],
  ]

  test('predict what a person would, and report their dev metrics', async () => {
    const server = await serveAny('--data-dir', await temporaryDirectory())
    const json = async (path: string, body?: object) => {
      const headers = { 'content-type': 'application/json' }
      const request = body ? { method: 'POST', headers, body: JSON.stringify(body) } : {}
      return (await (await fetch(`${server.url}${path}`, request)).json()) as Record<string, unknown>
    }
    for (const [task, inputs, label] of expected) {
      const { predictions } = (await json(`/tasks/${task}/predict`, { inputs })) as unknown as ClassificationResponse
      assert.equal(predictions[0]?.label, label, `${task}: ${JSON.stringify(inputs)}`)
    }
    const same = { text: 'Two dogs run over a field', text_pair: 'Two dogs run over a field' }
    const other = { text: 'Two dogs run over a field', text_pair: 'A woman is slicing an onion' }
    const response = await json('/tasks/sick_relatedness/predict', { inputs: [same, other] })
    const [high, low] = (response.predictions as { score: number }[]).map(({ score }) => score)
    assert.ok(high !== undefined && low !== undefined && high > 4 && low < 2.5, `${high}, ${low}`)

    const { tasks } = (await json('/tasks')) as { tasks: { id: string }[] }
    assert.equal(tasks.length, 12)
    for (const { id } of tasks) {
      const { metrics } = (await json(`/tasks/${id}`)) as { metrics?: { dev?: { rows?: number } } }
      assert.ok((metrics?.dev?.rows ?? 0) > 300, `${id} says what it reaches on dev`)
    }
    server.process.kill('SIGTERM')
    assert.deepEqual(await server.exit, [0, null])
  })
})

describe('propetl inspect', () => {
  const inspect = async (...args: string[]) => {
    const child = spawn(process.execPath, [cli, 'inspect', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    const out: string[] = []
    const error: string[] = []
    child.stdout.on('data', (piece) => out.push(String(piece)))
    child.stderr.on('data', (piece) => error.push(String(piece)))
    const [code] = await once(child, 'close')
    return { code, out: out.join(''), error: error.join('') }
  }
  const prototype = ['--prototype', join(root, 'test/fixtures/reference/prototype.safetensors')]

  test('prints the same facts of a task as text and as JSON', async () => {
    const file = join(masksDir, 'trec.safetensors')
    const { out } = await inspect(file, ...prototype)
    assert.match(out, /labels +abbreviation, description, entity, human, location, number/)
    assert.match(out, /mask +1 × 24,576 bits, density 50\.0 %/)
    const facts = JSON.parse((await inspect(file, ...prototype, '--json')).out) as Record<string, unknown>
    assert.deepEqual(facts.storage, { mask_bits: 24_576, plain_module_bits: 4_798_464, ratio: 24_576 / 4_798_464 })
  })

  test('prints the facts of a prototype', async () => {
    const { out } = await inspect(join(root, 'test/fixtures/reference/prototype.safetensors'), '--json')
    const facts = JSON.parse(out) as Record<string, unknown>
    assert.deepEqual([facts.kind, facts.layers, facts.maskable_weights], ['adapter', 6, 24_576])
  })

  test('says what is wrong with a file, and exits 1', async () => {
    const directory = await temporaryDirectory()
    const cut = join(directory, 'cut.safetensors')
    await writeFile(cut, sst2.subarray(0, 900))
    const { code, error } = await inspect(cut)
    assert.equal(code, 1)
    assert.match(error, /^propetl: .*cut\.safetensors: tensor "\S+": data_offsets/)
    assert.match((await inspect(join(directory, 'none'))).error, /none cannot be read/)
    assert.match((await inspect(join(modelDir, 'model.safetensors'))).error, /"format" is "pt"; expected/)
  })
})
