// Versions of tasks over HTTP: history, activation and rollback, candidates, and requests for one version.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { digestOf } from '../../src/formats/digest.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { addVersion } from '../../src/tasks/versions.js'
import { operator as operatorId } from '../../src/tenants/tenant.js'
import { changedTask, floats, headOf, shiftedTask, taskBytes } from '../material.js'
import {
  type ClassificationResponse,
  type KeyClient,
  keyClient,
  newTenant,
  operatorKey,
  predict,
  type Running,
  startRunning,
  upload,
} from './running.js'

const sst2 = taskBytes('sst2')
const films = ['a gorgeous film', 'two hours of nothing', 'a dull and lifeless story', 'funny, warm and moving']

/** The task with the two labels exchanged: all of its predictions differ. */
function reversedTask(): Uint8Array {
  const { weight, bias, inputs } = headOf(readTaskFile(sst2)).output
  return changedTask(sst2, {
    tensors: {
      'head.weight': floats([2, inputs], [...weight.slice(inputs), ...weight.slice(0, inputs)]),
      'head.bias': floats([2], [...bias].toReversed()),
    },
  })
}

interface Version {
  readonly version: number
  readonly digest: string
  readonly created: string | null
  readonly state: string
  readonly [field: string]: unknown
}
interface VersionList {
  readonly active: number | null
  readonly candidate: { readonly version: number; readonly compared: number; readonly differ: number } | null
  readonly versions: Version[]
  readonly next: string | null
}

describe('versions over HTTP', () => {
  let running: Running
  let operator: KeyClient
  let acme: KeyClient
  before(async () => {
    running = await startRunning({ operatorKey, versions: '4' })
    operator = keyClient(running.app, operatorKey)
    acme = await newTenant(running.app, 'acme')
  })
  const put = (id: string, file: Uint8Array) => acme('PUT', `/tasks/${id}`, Buffer.from(file))
  const list = async (id: string, query = '') =>
    (await acme('GET', `/tasks/${id}/versions${query}`)).json<VersionList>()
  const activate = (id: string, body: object, headers = {}) => acme('PUT', `/tasks/${id}/active`, body, headers)
  const predicted = async (url: string, inputs: unknown = films) =>
    (await acme('POST', url, { inputs })).json<ClassificationResponse>()
  const codeOf = async (response: ReturnType<KeyClient>) => {
    const { statusCode, json } = await response
    return [statusCode, json<{ code: string }>().code]
  }
  const files = [0, 1, 2, 3, 4].map((shift) => shiftedTask(sst2, shift))
  const digests = files.map((file) => digestOf(file))

  test('are listed newest first, in pages, with who made them and from what', async () => {
    for (const file of files.slice(0, 3)) await put('pages', file)
    const all = await acme('GET', '/tasks/pages/versions')
    assert.equal(all.headers.etag, `"${digests[2]}"`)
    const { active, candidate, versions, next } = all.json<VersionList>()
    assert.deepEqual([active, candidate, next], [3, null, null])
    assert.deepEqual(
      versions.map(({ version, digest, state }) => [version, digest, state]),
      [
        [3, digests[2], 'active'],
        [2, digests[1], 'kept'],
        [1, digests[0], 'kept'],
      ],
    )
    const { created, by, bytes, source, problem_type } = versions[0] ?? assert.fail()
    assert.ok(Date.now() - Date.parse(created ?? '') < 60_000)
    assert.match(String(by), /^acme\/[\w-]+$/)
    assert.deepEqual(
      [bytes, source, problem_type],
      [files[2]?.byteLength, { kind: 'upload' }, 'single_label_classification'],
    )
    const first = await list('pages', '?limit=2')
    assert.deepEqual([first.versions.map(({ version }) => version), first.next], [[3, 2], '2'])
    const second = await list('pages', '?limit=2&after=2')
    assert.deepEqual([second.versions.map(({ version }) => version), second.next], [[1], null])
  })

  test('can be activated and rolled back in one audited step, which the next prediction sees', async () => {
    for (const file of files.slice(0, 2)) await put('rollback', file)
    assert.equal((await predicted('/tasks/rollback/predict')).version, digests[1])
    const response = await activate('rollback', { version: 1 }, { 'if-match': `"${digests[1]}"` })
    assert.equal(response.statusCode, 200)
    assert.equal(response.headers.etag, `"${digests[0]}"`)
    assert.equal(response.json<VersionList>().active, 1)
    assert.equal((await predicted('/tasks/rollback/predict')).version, digests[0])
    assert.deepEqual(await codeOf(activate('rollback', { version: 2 }, { 'if-match': `"${digests[1]}"` })), [
      412,
      'precondition_failed',
    ])
    const line = running.log.findLast(({ action }) => action === 'version.activate') ?? assert.fail()
    const { tenant, object, before, after, actor } = line
    assert.deepEqual([tenant, object, before, after], ['acme', 'rollback', digests[1], digests[0]])
    assert.match(String(actor), /^acme\//)
    // An upload of a kept version activates it, and makes no new one.
    assert.equal((await put('rollback', files[1] ?? sst2)).statusCode, 200)
    const { active, versions } = await list('rollback')
    assert.deepEqual([active, versions.length], [2, 2])
  })

  test('can be asked for by number, in predictions, descriptions and downloads', async () => {
    for (const file of files.slice(0, 2)) await put('numbers', file)
    assert.equal((await predicted('/tasks/numbers/predict?version=1')).version, digests[0])
    assert.equal((await predicted('/tasks/numbers/predict?version=2')).version, digests[1])
    const many = await acme('POST', '/predict', {
      inputs: [
        { task: 'numbers', version: 1, text: 'a film' },
        { task: 'numbers', text: 'a film' },
        { task: 'numbers', version: 2, text: 'a film' },
        { task: 'sst2', version: 1, text: 'a film' },
      ],
    })
    assert.deepEqual(
      many.json<{ predictions: { version: string }[] }>().predictions.map(({ version }) => version),
      [digests[0], digests[1], digests[1], digestOf(sst2)],
    )
    const described = await acme('GET', '/tasks/numbers?version=1')
    assert.deepEqual([described.headers.etag, described.json<Version>().version], [`"${digests[0]}"`, digests[0]])
    const file = await acme('GET', '/tasks/numbers/file?version=1')
    assert.equal(digestOf(file.rawPayload), digests[0])
    const unchanged = await acme('GET', '/tasks/numbers/file?version=1', undefined, {
      'if-none-match': `"${digests[0]}"`,
    })
    assert.equal(unchanged.statusCode, 304)
    for (const url of ['/tasks/numbers?version=3', '/tasks/numbers/file?version=9', '/tasks/sst2?version=2'])
      assert.deepEqual(await codeOf(acme('GET', url)), [404, 'unknown_version'], url)
    for (const version of ['0', '-1', '1.5', 'x', '99999999999999999999', '1&version=2'])
      assert.deepEqual(
        await codeOf(acme('POST', `/tasks/numbers/predict?version=${version}`, { inputs: 'a film' })),
        [400, 'invalid_request'],
        version,
      )
  })

  test('that are bundled have number 1 and cannot be changed', async () => {
    const { active, versions } = await list('mrpc')
    assert.deepEqual([active, versions.length], [1, 1])
    const { created, by, source, state } = versions[0] ?? assert.fail()
    assert.deepEqual([created, by, source, state], [null, null, { kind: 'bundled' }, 'active'])
    assert.deepEqual(await codeOf(activate('mrpc', { version: 1 })), [409, 'task_read_only'])
    assert.deepEqual(await codeOf(acme('DELETE', '/tasks/mrpc/versions/1')), [409, 'task_read_only'])
  })

  test('beyond the setting are removed, and can be deleted unless they are active', async () => {
    for (const file of files) await put('kept', file)
    assert.deepEqual(
      (await list('kept')).versions.map(({ version }) => version),
      [5, 4, 3, 2],
    )
    assert.deepEqual(await codeOf(acme('DELETE', '/tasks/kept/versions/5')), [409, 'version_in_use'])
    assert.deepEqual(await codeOf(acme('DELETE', '/tasks/kept/versions/3', undefined, { 'if-match': '"x"' })), [
      412,
      'precondition_failed',
    ])
    assert.equal((await acme('DELETE', '/tasks/kept/versions/3')).statusCode, 204)
    assert.deepEqual(await codeOf(acme('DELETE', '/tasks/kept/versions/3')), [404, 'unknown_version'])
    assert.deepEqual(await codeOf(activate('kept', { version: 1 })), [404, 'unknown_version'])
    for (const number of ['0', 'x', '1e3', '00000005', '%00', '9'.repeat(500)])
      assert.deepEqual(await codeOf(acme('DELETE', `/tasks/kept/versions/${number}`)), [404, 'unknown_version'], number)
    const { before } = running.log.findLast(({ action }) => action === 'version.delete') ?? assert.fail()
    assert.deepEqual(before, { version: 3, digest: digests[2] })
    assert.equal((await acme('DELETE', '/tasks/kept')).statusCode, 204)
    assert.deepEqual(await codeOf(acme('GET', '/tasks/kept/versions')), [404, 'unknown_task'])
  })

  test('of other owners cannot be seen, used or changed', async () => {
    for (const file of files.slice(0, 2)) await put('private', file)
    const beta = await newTenant(running.app, 'beta')
    for (const client of [beta, operator]) {
      const requests = [
        client('GET', '/tasks/private/versions'),
        client('GET', '/tasks/private/versions/1/report'),
        client('GET', '/tasks/private/file?version=1'),
        client('POST', '/tasks/private/predict?version=1', { inputs: 'a film' }),
        client('PUT', '/tasks/private/active', { version: 1 }),
        client('DELETE', '/tasks/private/versions/1'),
      ]
      for (const request of requests) assert.deepEqual(await codeOf(request), [404, 'unknown_task'])
    }
    assert.equal((await list('private')).versions.length, 2)
  })

  test('of a job have its scores and its report', async () => {
    const { store } = running.server.services.registry
    const file = files[4] ?? sst2
    const report = { examples: 200, labels: [{ label: 'positive', precision: 1 }] }
    await upload(running.app, 'learned', files[0], { authorization: `Bearer ${operatorKey}` })
    await store.store.change((records) =>
      addVersion(
        records,
        operatorId,
        'learned',
        {
          digest: digestOf(file),
          file,
          by: 'operator',
          source: { kind: 'job', job: 'j1', stage: 'head' },
          metric: 'accuracy',
          score: 0.9,
          interval: [0.8, 0.95],
          examples: 200,
          report,
        },
        { activate: false, keep: 4 },
      ),
    )
    const { versions } = (await operator('GET', '/tasks/learned/versions')).json<VersionList>()
    const { source, metric, score, interval, examples, state } = versions[0] ?? assert.fail()
    assert.deepEqual(
      [source, metric, score, interval, examples, state],
      [{ kind: 'job', job: 'j1', stage: 'head' }, 'accuracy', 0.9, [0.8, 0.95], 200, 'kept'],
    )
    const response = await operator('GET', '/tasks/learned/versions/2/report')
    assert.match(String(response.headers['content-type']), /^application\/json/)
    assert.deepEqual(response.json(), report)
    assert.deepEqual(await codeOf(operator('GET', '/tasks/learned/versions/1/report')), [404, 'no_report'])
    assert.deepEqual(await codeOf(operator('GET', '/tasks/learned/versions/3/report')), [404, 'unknown_version'])
  })

  test('count in the quota of bytes, and make room for new ones', async () => {
    const bytes = 3 * sst2.byteLength
    const small = await newTenant(running.app, 'small', { limits: { bytes } })
    for (const file of files) assert.ok((await small('PUT', '/tasks/a', Buffer.from(file))).statusCode < 300)
    const { versions } = (await small('GET', '/tasks/a/versions')).json<VersionList>()
    assert.deepEqual(
      versions.map(({ version }) => version),
      [5, 4, 3],
    )
    assert.deepEqual(await codeOf(small('PUT', '/tasks/b', Buffer.from(sst2))), [403, 'quota_exceeded'])
    assert.equal((await small('DELETE', '/tasks/a/versions/4')).statusCode, 204)
    assert.equal((await small('PUT', '/tasks/b', Buffer.from(sst2))).statusCode, 201)
  })

  const invalid: [string, object][] = [
    ['no version', {}],
    ['a share of 0', { version: 1, share: 0 }],
    ['a share of 1', { version: 1, share: 1 }],
    ['a share that is a text', { version: 1, share: '0.5' }],
    ['a version with a fraction', { version: 1.5 }],
    ['version 0', { version: 0 }],
    ['share and shadow', { version: 1, share: 0.5, shadow: true }],
    ['an unknown field', { version: 1, part: 0.5 }],
  ]
  for (const [what, body] of invalid)
    test(`reject a candidate with ${what}`, async () => {
      await put('invalid', sst2)
      assert.deepEqual(await codeOf(activate('invalid', body)), [400, 'invalid_request'])
    })

  test('on trial get their share of the texts, and a text always gets the same version', async () => {
    for (const file of files.slice(0, 2)) await put('shared', file)
    const body = { version: 1, share: 0.25 }
    const response = await activate('shared', body)
    const { active, candidate, versions } = response.json<VersionList>()
    assert.deepEqual([active, versions[1]?.state], [2, 'candidate'])
    const { version, share, compared } = candidate as unknown as Record<string, unknown>
    assert.deepEqual([version, share, compared], [1, 0.25, 0])
    assert.equal(response.headers.etag, `"${digests[1]}"`)
    const { before, after } = running.log.findLast(({ action }) => action === 'version.candidate') ?? assert.fail()
    assert.deepEqual(before, { digest: digests[1] })
    assert.deepEqual(after, { digest: digests[1], candidate: { digest: digests[0], trial: 0.25 } })
    const texts = Array.from({ length: 100 }, (_, i) => `film number ${i}`)
    const versionsOf = async () =>
      Promise.all(texts.map(async (text) => (await predicted('/tasks/shared/predict', text)).version))
    const got = await versionsOf()
    const ofCandidate = got.filter((digest) => digest === digests[0]).length
    assert.deepEqual(new Set(got), new Set(digests.slice(0, 2)))
    // The texts are fixed, and a quarter of 100 is 25.
    assert.ok(ofCandidate > 10 && ofCandidate < 45, String(ofCandidate))
    assert.deepEqual(await versionsOf(), got)
    // All texts of a request get the version of the first.
    const together = await predicted('/tasks/shared/predict', texts)
    assert.equal(together.version, got[0])
    const { version: asked } = await predicted('/tasks/shared/predict?version=2', texts[got.indexOf(digests[0] ?? '')])
    assert.equal(asked, digests[1])
    assert.equal((await activate('shared', { version: 2 })).json<VersionList>().candidate, null)
    assert.deepEqual(new Set(await versionsOf()), new Set([digests[1]]))
  })

  test('on trial in the background are counted, and do not change responses', async () => {
    for (const file of [sst2, files[1] ?? sst2, reversedTask()]) await put('shadowed', file)
    await activate('shadowed', { version: 1 })
    const before = await predicted('/tasks/shadowed/predict')
    for (const [version, differs] of [
      [3, true],
      [2, false],
    ] as const) {
      assert.equal((await activate('shadowed', { version, shadow: true })).statusCode, 200)
      // A text is left out while the server has other work.
      let counts = { compared: 0, differ: 0 }
      for (let tries = 0; counts.compared === 0 && tries < 100; tries++) {
        assert.deepEqual(await predicted('/tasks/shadowed/predict'), before)
        await delay(100)
        counts = (await list('shadowed')).candidate ?? assert.fail()
      }
      assert.ok(counts.compared > 0 && counts.compared % films.length === 0, String(counts.compared))
      assert.equal(counts.differ, differs ? counts.compared : 0)
    }
    const metrics = (await operator('GET', '/metrics')).body
    for (const outcome of ['same', 'different'])
      assert.match(metrics, new RegExp(`^propetl_shadow_predictions_total\\{outcome="${outcome}"\\} [1-9]`, 'm'))
  })

  test('on trial in the background are left out while the tenant has used up half of its rate of tokens', async () => {
    const slow = await newTenant(running.app, 'slow', { limits: { tokens_per_second: 20 } })
    for (const file of [sst2, reversedTask()]) await slow('PUT', '/tasks/a', Buffer.from(file))
    assert.equal((await slow('PUT', '/tasks/a/active', { version: 1, shadow: true })).statusCode, 200)
    const dropped = async () => {
      const [, count] =
        /shadow_predictions_total\{outcome="dropped"\} (\d+)/.exec((await operator('GET', '/metrics')).body) ?? []
      return Number(count)
    }
    const before = await dropped()
    assert.equal((await slow('POST', '/tasks/a/predict', { inputs: films })).statusCode, 200)
    for (let tries = 0; (await dropped()) === before && tries < 100; tries++) await delay(20)
    assert.equal((await dropped()) - before, films.length)
  })

  test('for another model cannot be activated, and the task keeps its version', async () => {
    await put('other', sst2)
    const { store } = running.server.services.registry
    const file = Buffer.from('not a task file')
    const { incarnation } = running.server.services.tenants.get('acme')
    await store.put({ id: 'acme', incarnation }, 'other', digestOf(file), file, () => {})
    await activate('other', { version: 1 })
    assert.deepEqual(await codeOf(activate('other', { version: 2 })), [400, 'not_safetensors'])
    assert.deepEqual(await codeOf(activate('other', { version: 2, shadow: true })), [400, 'not_safetensors'])
    assert.equal((await predict(running.app, 'sst2', { inputs: 'x' })).statusCode, 401)
    assert.equal((await list('other')).active, 1)
  })
})
