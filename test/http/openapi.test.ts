// The OpenAPI document, as generators of clients use it.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import openapiTS from 'openapi-typescript'
import { Type } from 'typebox'
import { digestOf } from '../../src/formats/digest.js'
import { describeApi } from '../../src/http/openapi.js'
import { component, documentedAs, withComponents } from '../../src/http/schemas/component.js'
import type { StoreWriter } from '../../src/store/store.js'
import { addVersion } from '../../src/tasks/versions.js'
import { operator } from '../../src/tenants/tenant.js'
import { root, shiftedTask, taskBytes, temporaryDirectory } from '../material.js'
import { operatorKey, startRunning } from './running.js'

interface Content {
  readonly schema: { readonly $ref?: string }
  readonly example?: object
}

interface Parameter {
  readonly name: string
  readonly in: string
  readonly required: boolean
  readonly example?: unknown
}

interface Operation {
  readonly operationId?: string
  readonly summary?: string
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: { readonly content: Readonly<Record<string, Content>> }
  readonly responses: Readonly<
    Record<string, { readonly description: string; readonly content?: Readonly<Record<string, Content>> }>
  >
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, object>> }
}

const text = await describeApi()
const document = JSON.parse(text) as Document
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ name: `${method} ${path}`, method, path, operation })),
)

describe('the OpenAPI document', () => {
  test('is openapi/openapi.json (npm run generate writes the file)', () => {
    assert.equal(readFileSync(join(root, 'openapi/openapi.json'), 'utf8'), text)
  })

  test('has every route', () => {
    assert.deepEqual(operations.map(({ name }) => name).toSorted(), [
      'delete /jobs/{id}',
      'delete /tasks/{id}',
      'delete /tasks/{id}/examples',
      'delete /tasks/{id}/examples/{example}',
      'delete /tasks/{id}/versions/{version}',
      'delete /tenants/{id}',
      'delete /tenants/{id}/keys/{key_id}',
      'get /health/live',
      'get /health/ready',
      'get /jobs',
      'get /jobs/{id}',
      'get /jobs/{id}/events',
      'get /metrics',
      'get /tasks',
      'get /tasks/{id}',
      'get /tasks/{id}/examples',
      'get /tasks/{id}/examples/{example}',
      'get /tasks/{id}/file',
      'get /tasks/{id}/settings',
      'get /tasks/{id}/suggestions',
      'get /tasks/{id}/versions',
      'get /tasks/{id}/versions/{version}/report',
      'get /tenants',
      'get /tenants/{id}',
      'get /tenants/{id}/keys',
      'patch /tasks/{id}/examples/{example}',
      'patch /tenants/{id}',
      'post /predict',
      'post /tasks',
      'post /tasks/{id}/examples',
      'post /tasks/{id}/feedback',
      'post /tasks/{id}/learn',
      'post /tasks/{id}/predict',
      'post /tenants/{id}/keys',
      'put /tasks/{id}',
      'put /tasks/{id}/active',
      'put /tasks/{id}/settings',
      'put /tenants/{id}',
    ])
  })

  test('gives every operation an id, a summary and descriptions of its responses', () => {
    assert.equal(new Set(operations.map(({ operation }) => operation.operationId)).size, operations.length)
    for (const { name, operation } of operations) {
      assert.ok(operation.operationId && operation.summary, name)
      for (const { description } of Object.values(operation.responses))
        assert.ok(description && description !== 'Default Response', name)
    }
  })

  test('has an example of every required parameter and every JSON body', () => {
    for (const { name, operation } of operations) {
      for (const { required, example } of operation.parameters ?? []) assert.ok(!required || example, name)
      const { example } = operation.requestBody?.content['application/json'] ?? { example: true }
      assert.ok(example, name)
    }
  })

  test('refers to a named schema for every body of a request and a response', () => {
    for (const { name, operation } of operations)
      for (const { content } of [operation.requestBody ?? {}, ...Object.values(operation.responses)])
        for (const [type, { schema }] of Object.entries(content ?? {})) {
          if (type.startsWith('text/')) continue
          const component = schema.$ref?.replace('#/components/schemas/', '') ?? ''
          assert.ok(document.components.schemas[component], `${name}: ${type}`)
        }
  })
})

describe('the OpenAPI document of a running server', () => {
  const form = (file: Buffer) =>
    Buffer.concat([
      Buffer.from('--cut\r\ncontent-disposition: form-data; name="file"; filename="from-form.safetensors"\r\n\r\n'),
      file,
      Buffer.from('\r\n--cut--\r\n'),
    ])
  /** Files, which a document cannot have as examples. */
  const files: Readonly<Record<string, readonly [type: string, body: Buffer]>> = {
    'application/octet-stream': ['application/octet-stream', taskBytes('sst2')],
    'multipart/form-data': ['multipart/form-data; boundary=cut', form(taskBytes('sst2'))],
  }
  /** Version 1 with a report, and version 2, which is active. */
  const addExampleVersions = (records: StoreWriter): void => {
    const trained = {
      by: operator,
      source: { kind: 'job', job: 'j1', stage: 'final' },
      report: { examples: 8 },
    } as const
    for (const file of [shiftedTask(taskBytes('sst2'), 1), taskBytes('sst2')]) {
      const version = { ...trained, digest: digestOf(file), file }
      addVersion(records, operator, 'my-task', version, { activate: true, keep: 10 })
    }
  }
  const order = ['put', 'post', 'patch', 'get', 'delete']
  /** An upload makes version 2 active again. A task is trained from its examples, and the job is cancelled while it runs. */
  const first = [
    'put /tasks/{id}/active',
    'put /tasks/{id}',
    'post /tasks/{id}/examples',
    'post /tasks/{id}/learn',
    'delete /jobs/{id}',
  ]
  const rankOf = (name: string): number => (first.includes(name) ? first.indexOf(name) : first.length)

  test('has examples that succeed on every operation', async () => {
    const { app, server } = await startRunning({ operatorKey })
    await server.services.store.change(addExampleVersions)
    // Create first and delete last; delete the API keys of a tenant before the tenant.
    const ordered = operations.toSorted(
      (a, b) =>
        rankOf(a.name) - rankOf(b.name) ||
        order.indexOf(a.method) - order.indexOf(b.method) ||
        (a.method === 'delete' ? b.path.length - a.path.length : a.path.length - b.path.length),
    )
    let [keyId, jobId] = ['', '']
    const idOf = (path: string, name: string): string | undefined => {
      if (name === 'key_id') return keyId
      return path.startsWith('/jobs/') ? jobId : undefined
    }
    for (const { path, method, operation } of ordered) {
      const { parameters = [], requestBody } = operation
      const examples = (place: string) => parameters.filter((each) => each.in === place && each.example !== undefined)
      const url = examples('path').reduce(
        // The ids of keys and jobs are random.
        (url, { name, example }) => url.replace(`{${name}}`, idOf(path, name) ?? String(example)),
        path,
      )
      const [type = '', content] = Object.entries(requestBody?.content ?? {})[0] ?? []
      const [contentType, payload] = files[type] ?? [type, content?.example]
      const response = await app.inject({
        method: method.toUpperCase() as 'GET',
        url,
        headers: {
          authorization: `Bearer ${operatorKey}`,
          ...(payload && { 'content-type': contentType }),
          ...Object.fromEntries(examples('header').map(({ name, example }) => [name, String(example)])),
        },
        ...(payload && { payload }),
      })
      const expected = method === 'delete' ? [204] : [200, 201, 202]
      assert.ok(expected.includes(response.statusCode), `${method} ${url}: ${response.statusCode} ${response.body}`)
      if (operation.operationId === 'createKey') keyId = response.json<{ id: string }>().id
      if (operation.operationId === 'learnTask') jobId = response.json<{ id: string }>().id
    }
  })
})

describe('a client made by openapi-typescript', () => {
  const check = async (program: string) => {
    const directory = await temporaryDirectory()
    await writeFile(join(directory, 'schema.d.ts'), await openapiTS(JSON.parse(text)))
    await writeFile(join(directory, 'client.ts'), program)
    const tsc = join(root, 'node_modules/.bin/tsc')
    const options = ['--noEmit', '--strict', '--target', 'es2022', '--module', 'nodenext', '--types', '']
    const run = promisify(execFile)(tsc, [...options, 'client.ts'], { cwd: directory })
    return run.then(
      () => '',
      ({ stdout }: { stdout: string }) => stdout,
    )
  }
  const types = `import type { components, paths } from './schema.js'
    type Schemas = components['schemas']
    type Body<Response extends { content: object }> = Response['content'] extends Record<'application/json', infer T> ? T : never
    type Predicted = Body<paths['/tasks/{id}/predict']['post']['responses'][200]>
    type Rejected = paths['/tasks/{id}/predict']['post']['responses'][422]['content']['application/problem+json']
  `

  test('has named types for requests, responses and every kind of prediction', async () => {
    const program = `${types}
      export const request: Schemas['PredictRequest'] = { inputs: ['a', { text: 'b', text_pair: 'c' }], top_k: 1 }
      export const settings: Schemas['TenantSettings'] = { limits: { tasks: null, bytes: 5 } }
      export const code = ({ code, detail }: Rejected): string => code + detail
      export function show(prediction: Schemas['Prediction']): string {
        if ('embedding' in prediction) return prediction.embedding.map((x: number) => x.toFixed(2)).join()
        if ('words' in prediction) return prediction.words.map(({ text, label }) => text + label).join()
        if ('labels' in prediction) return prediction.labels.join()
        return 'label' in prediction ? prediction.label : prediction.score.toFixed(2)
      }
      export const all = ({ task, predictions }: Predicted): string => task + predictions.map(show).join()
      export const single = ({ label, scores }: Schemas['SingleLabelPrediction']): number => (scores[0]?.score ?? 0) + label.length
      export const created = ({ key, expires }: Schemas['CreatedApiKey']): string => key + (expires ?? 'never')
      export const provider = ({ provider, database }: Schemas['HealthReport']): string => provider + database?.state
    `
    assert.equal(await check(program), '')
  })

  test('has types that reject a misspelt field and a wrong type', async () => {
    const found = await check(`${types}
      export const misspelt: Schemas['PredictRequest'] = { inputs: 'a', topk: 1 }
      export const wrong: Schemas['PredictRequest'] = { inputs: 'a', top_k: '1' }
      export const count: number = ({} as Predicted).predictions
    `)
    assert.deepEqual(
      found.match(/client\.ts\(\d+/g)?.map((place) => Number(place.slice(10)) - types.split('\n').length),
      [1, 2, 3],
      found,
    )
  })
})

describe('named schemas', () => {
  const document = (...schemas: object[]) => ({ paths: schemas, components: { securitySchemes: {} } })

  test('become components, also within each other', () => {
    const inner = component('Inner', Type.Object({ a: Type.String() }))
    const outer = component('Outer', Type.Object({ inner, others: Type.Array(inner) }))
    const { paths, components } = withComponents(document(outer, inner)) as unknown as {
      paths: object[]
      components: { schemas: Record<string, { properties: object }> }
    }
    assert.deepEqual(paths, [{ $ref: '#/components/schemas/Outer' }, { $ref: '#/components/schemas/Inner' }])
    assert.deepEqual(Object.keys(components), ['securitySchemes', 'schemas'])
    assert.deepEqual(components.schemas.Outer?.properties, {
      inner: { $ref: '#/components/schemas/Inner' },
      others: { type: 'array', items: { $ref: '#/components/schemas/Inner' } },
    })
  })

  test('are shown as the schema that documents them', () => {
    const shown = documentedAs(Type.Literal(1), component('Number', Type.Number()))
    assert.deepEqual(withComponents(document(shown)).paths, [{ const: 1, type: 'number' }])
  })

  test('cannot share a name', () => {
    const two = document(component('A', Type.String()), component('A', Type.Number()))
    assert.throws(() => withComponents(two), /two schemas have the name A/)
  })
})
