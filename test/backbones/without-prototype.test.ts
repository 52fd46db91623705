// A model without a prototype: the server starts, and serves tasks without a mask.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { readBackbone } from '../../src/backbones/backbone.js'
import { type Pooling, poolings, type Task } from '../../src/petl/task.js'
import { readTaskFile, serializeTaskFile } from '../../src/petl/task-file.js'
import { distance, masksDir, taskBytes, temporaryDirectory } from '../material.js'
import { cli, failedStart, outputOf, put, ready, type StartOptions, serveAny, start } from '../server-process.js'
import { copyOf, expectedRows, texts } from './tiny.js'

const post = async (url: string, id: string, inputs: unknown): Promise<unknown> => {
  const response = await fetch(`${url}/tasks/${id}/predict`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ inputs }),
  })
  return response.json()
}

describe('a server whose model has no prototype', async () => {
  const directory = await copyOf('bert')
  const backbone = (await readBackbone(directory)).digest
  const common = { backbone, labels: [] }
  const embedding = (pooling: Pooling): Task => ({
    ...common,
    problemType: 'feature_extraction',
    normalize: false,
    pooling,
  })
  const flags = async () => ['--model', directory, '--data-dir', await temporaryDirectory()]

  test('says at start and in its health report that it has none, and how to make one', async () => {
    const child = start([], await flags())
    const log = outputOf(child)
    const { url } = await ready(child)
    const health = (await (await fetch(`${url}/health/ready`)).json()) as Record<string, unknown>
    assert.equal(health.prototype, undefined)
    assert.match(
      String(health.advice),
      /no prototype, .*make one with: propetl train DATA\.\.\. --model-dir MODEL --out DIR/,
    )
    assert.equal(health.tasks, 0)
    const lines = log()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    const line = lines.find(({ msg }) => String(msg).startsWith('the model has no prototype'))
    assert.equal(
      line?.advice,
      `Train a prototype for this backbone and write it there: propetl train DATA... --model-dir ${directory} --out ${directory}`,
    )
    assert.ok(
      lines.some(
        ({ msg, skipped }) => String(msg).startsWith('the bundled tasks belong to another') && Number(skipped) > 0,
      ),
    )
  })

  test('serves heads and embeddings of every pooling, and rejects tasks with a mask', async () => {
    const { url } = await serveAny(...(await flags()))
    for (const pooling of poolings)
      assert.equal((await put(url, pooling, serializeTaskFile(embedding(pooling)))).status, 201)
    const rows = expectedRows('bert')
    for (const [at, text] of texts.entries()) {
      if (text.textPair !== undefined) continue
      const { inputIds, hidden } = rows[at] ?? assert.fail()
      const tokens = inputIds.map((_, token) => hidden.subarray(token * 32, (token + 1) * 32))
      for (const pooling of poolings) {
        const { predictions } = (await post(url, pooling, [text.text])) as { predictions: { embedding: number[] }[] }
        const expected = Array.from({ length: 32 }, (_, i) => {
          const values = tokens.map((token) => token[i] ?? Number.NaN)
          const mean = values.reduce((sum, value) => sum + value, 0) / values.length
          return { mean, cls: values[0], max: Math.max(...values), last: values.at(-1) }[pooling] ?? Number.NaN
        })
        assert.ok(distance(predictions[0]?.embedding ?? [], expected) < 1e-3, `${pooling} of ${text.text}`)
      }
    }
    const weight = new Float32Array(64).map((_, i) => Math.sin(i))
    const head = { output: { inputs: 32, outputs: 2, weight, bias: Float32Array.of(0, 1) } }
    const task: Task = {
      ...common,
      labels: ['a', 'b'],
      problemType: 'single_label_classification',
      head,
      pooling: 'mean',
    }
    assert.equal((await put(url, 'head', serializeTaskFile(task))).status, 201)
    const [{ text } = assert.fail()] = texts
    const scored = (await post(url, 'head', [text])) as { predictions: { scores: { label: string }[] }[] }
    assert.deepEqual(scored.predictions[0]?.scores.map(({ label }) => label).sort(), ['a', 'b'])
    const masked = await put(url, 'masked', taskBytes('sst2'))
    assert.equal(masked.status, 409)
    const { code, detail } = (await masked.json()) as { code: string; detail: string }
    assert.equal(code, 'prototype_mismatch')
    assert.match(detail, /but the model has no prototype; only tasks without a mask can be used/)
  })

  test('rejects a masks directory of another model, and a prototype file that does not exist', async () => {
    const stdio: StartOptions = { stdio: ['ignore', 'pipe', 'pipe'] }
    const masks = await failedStart(start([], [...(await flags()), '--masks-dir', masksDir], stdio))
    assert.equal(masks.code, 1)
    assert.match(
      masks.output,
      /the server did not start: .*\.safetensors: the task was trained on prototype .* the model has no prototype/,
    )
    const missing = await failedStart(
      start([], [...(await flags()), '--prototype', join(directory, 'p.safetensors')], stdio),
    )
    assert.equal(missing.code, 2)
    assert.match(
      missing.output,
      /--prototype .*p\.safetensors: there is no such file; expected a prototype that "propetl train" made/,
    )
  })

  test('is trained on by learn, which writes a head without a mask', async () => {
    const data = join(directory, 'data.csv')
    const out = join(directory, 'out.safetensors')
    const rows = Array.from({ length: 10 }, (_, i) => `good ${i},p\nbad ${i},n`)
    await writeFile(data, `text,label\n${rows.join('\n')}\n`)
    const args = [cli, 'learn', data, '--out', out, '--model', directory, '--threads', '1']
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args)
    assert.match(
      stderr,
      /has no prototype, so the task gets a head without a mask\. Train a prototype for this backbone/,
    )
    assert.match(stdout, /^mask +none/m)
    const file = await readFile(out)
    const { mask, backbone: trainedOn } = readTaskFile(file)
    assert.deepEqual([mask, trainedOn], [undefined, backbone])
    const { url } = await serveAny(...(await flags()))
    assert.equal((await put(url, 'learned', file)).status, 201)
    const { predictions } = (await post(url, 'learned', ['good 3'])) as { predictions: { label: string }[] }
    assert.deepEqual(
      predictions.map(({ label }) => label),
      ['p'],
    )
  })
})
