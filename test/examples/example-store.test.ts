// The examples of tasks in the store: what posts, corrections and deletions do to them, to the counts and to the quotas.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { NewExample, StoredExample } from '../../src/examples/example.js'
import { type ExamplePage, type ExampleQuery, ExampleStore } from '../../src/examples/example-store.js'
import { finish } from '../../src/steps.js'
import { operator } from '../../src/tenants/tenant.js'
import { noUsage } from '../../src/tenants/usage.js'
import { anyVersion, limited, newTenant, openStore } from '../tenants/material.js'

const labelled = (text: string, label: NewExample['label']): NewExample => ({ text, label, source: 'upload' })
const numbered = (count: number, label = (_: number): NewExample['label'] => 'a') =>
  Array.from({ length: count }, (_, i) => labelled(`text ${i}`, label(i)))

async function open() {
  const { store, tasks, tenants } = await openStore()
  const examples = new ExampleStore(store)
  const page = (query: ExampleQuery, owner = operator as string): ExamplePage =>
    finish(examples.page(owner, 't', query))
  return { store, tasks, tenants, examples, page }
}

const texts = ({ examples }: ExamplePage) => examples.map(({ text }) => text)

describe('posted examples', () => {
  test('replace the labels of texts that are there, and are counted', async () => {
    const { store, examples, page, tenants } = await open()
    const first = await examples.put(operator, 't', [labelled('good', 'pos'), labelled('bad', 'neg')])
    assert.deepEqual({ ...first, incarnation: '' }, { added: 2, replaced: 0, unchanged: 0, incarnation: '' })
    const second = await examples.put(operator, 't', [
      labelled('good', 'pos'),
      labelled('bad', 'pos'),
      labelled('so so', 'neutral'),
      { text: 'good', textPair: 'film', label: 'pos', source: 'upload' },
      { tokens: ['good'], label: ['O'], source: 'upload' },
    ])
    assert.deepEqual({ ...second, incarnation: '' }, { added: 3, replaced: 1, unchanged: 1, incarnation: '' })
    assert.equal(second.incarnation, first.incarnation)
    const dataset = examples.dataset(operator, 't')
    assert.equal(dataset?.examples, 5)
    assert.deepEqual(dataset.labels, { pos: 3, neutral: 1, O: 1 })
    assert.deepEqual(tenants.usage(operator), { tasks: 1, bytes: dataset.bytes, examples: 5 })
    assert.equal(page({ limit: 10 }).examples.length, 5)
    await store.close()
  })

  test('are the same after a repeated post as after one, wherever the first was interrupted', async () => {
    const { store, examples, page } = await open()
    const all = numbered(1_200, (i) => i % 3)
    await examples.put(operator, 't', all.slice(0, 777))
    const repeated = await examples.put(operator, 't', all)
    assert.deepEqual([repeated.added, repeated.replaced, repeated.unchanged], [423, 0, 777])
    assert.deepEqual(examples.dataset(operator, 't')?.labels, { 0: 400, 1: 400, 2: 400 })
    assert.equal(page({ limit: 2_000 }).examples.length, 1_200)
    await store.close()
  })

  test('keep numbers, digits and the names of every object', async () => {
    const { store, examples, page } = await open()
    const labels = [1, '1', '9007199254740993', 1e300, '__proto__', 'constructor', []] as const
    await examples.put(
      operator,
      't',
      labels.map((label, i) => labelled(`text ${i}`, label)),
    )
    const found = page({ limit: 10 }).examples.toSorted((a, b) => ((a.text ?? '') < (b.text ?? '') ? -1 : 1))
    assert.deepEqual(
      found.map(({ label }) => label),
      labels,
    )
    assert.equal(page({ limit: 10, label: '__proto__' }).examples.length, 1)
    assert.equal(page({ limit: 10, label: 'toString' }).examples.length, 0)
    await store.close()
  })

  test('are rejected with the quota, across the uploads of tasks', async () => {
    const { store, examples, tasks, tenants } = await open()
    const acme = await newTenant(tenants, 'acme', { tasks: 1, examples: 3 })
    await examples.put(acme, 't', numbered(3))
    await assert.rejects(examples.put(acme, 't', [labelled('x', 'a')]), {
      code: 'quota_exceeded',
      details: { quota: 'examples', used: 3, limit: 3 },
    })
    await assert.rejects(examples.put(acme, 'u', [labelled('x', 'a')]), {
      details: { quota: 'tasks', used: 1, limit: 1 },
    })
    const replaced = await examples.put(
      acme,
      't',
      numbered(3, () => 'b'),
    )
    assert.equal(replaced.replaced, 3)
    await tasks.put(acme, 't', 'd', Buffer.alloc(10), anyVersion)
    const { bytes = 0 } = examples.dataset('acme', 't') ?? {}
    assert.deepEqual(tenants.usage('acme'), { tasks: 1, bytes: bytes + 10, examples: 3 })
    await tenants.set('acme', limited({ bytes: bytes + 10 }))
    await assert.rejects(examples.put(acme, 't', [labelled('x', 'a')]), { code: 'quota_exceeded' })
    await tasks.delete(acme, 't', anyVersion)
    assert.deepEqual(tenants.usage('acme'), noUsage)
    await store.close()
  })

  test('do not come back when they are deleted while a post writes them', async () => {
    const { store, examples } = await open()
    const { incarnation } = await examples.put(operator, 't', numbered(3))
    await examples.deleteAll(operator, 't')
    await assert.rejects(examples.put(operator, 't', numbered(3), incarnation), { code: 'examples_deleted' })
    assert.equal(examples.dataset(operator, 't'), undefined)
    const again = await examples.put(operator, 't', numbered(2))
    assert.notEqual(again.incarnation, incarnation)
    assert.equal(examples.dataset(operator, 't')?.examples, 2)
    await store.close()
  })

  test('belong to their owner', async () => {
    const { store, examples, tenants, page } = await open()
    const acme = await newTenant(tenants, 'acme')
    await examples.put(acme, 't', numbered(2))
    assert.deepEqual(page({ limit: 10 }), { examples: [], next: null, bytes: 0 })
    assert.equal(page({ limit: 10 }, 'acme').examples.length, 2)
    await tenants.close('acme')
    await assert.rejects(examples.put(acme, 't', numbered(1)), { code: 'unknown_tenant' })
    await store.close()
  })
})

describe('the label counts of a dataset', () => {
  test('stay bounded, and say that labels are missing', async () => {
    const { store, examples, page } = await open()
    await examples.put(
      operator,
      't',
      numbered(1_500, (i) => `label ${i}`),
    )
    const dataset = examples.dataset(operator, 't')
    assert.equal(dataset?.truncated, true)
    assert.equal(Object.keys(dataset?.labels ?? {}).length, 1_000)
    const uncounted = Array.from({ length: 1_500 }, (_, i) => `label ${i}`).find((l) => !(l in (dataset?.labels ?? {})))
    assert.equal(page({ limit: 10, label: uncounted }).examples.length, 1)
    await examples.put(
      operator,
      't',
      numbered(1_500, () => 'label 0'),
    )
    assert.deepEqual(examples.dataset(operator, 't')?.labels, { 'label 0': 1_500 })
    await store.close()
  })
})

describe('a page of examples', () => {
  test('continues after the last one, with and without a filter', async () => {
    const { store, examples, page } = await open()
    await examples.put(
      operator,
      't',
      numbered(300, (i) => (i % 100 === 7 ? 'rare' : 'usual')),
    )
    for (const [query, count] of [
      [{ limit: 40 }, 300],
      [{ limit: 2, label: 'rare' }, 3],
      [{ limit: 5, search: 'TEXT 29' }, 11],
      [{ limit: 5, search: 'text 1', label: 'rare' }, 1],
    ] as const) {
      const found: StoredExample[] = []
      for (let after: string | null = ''; after !== null; ) {
        const next: ExamplePage = page({ ...query, after })
        assert.ok(next.examples.length <= query.limit)
        found.push(...next.examples)
        after = next.next
      }
      assert.equal(found.length, count)
      assert.deepEqual(
        found.map(({ id }) => id),
        found.map(({ id }) => id).toSorted(),
      )
    }
    await store.close()
  })

  test('can be of given examples, in their order', async () => {
    const { store, examples, page } = await open()
    await examples.put(operator, 't', numbered(20))
    const ids = page({ limit: 20 }).examples.map(({ id }) => id)
    const wanted = [ids[5], ids[2], 'f'.repeat(20), ids[9]].filter((id) => id !== undefined)
    const first = page({ limit: 2, ids: wanted })
    assert.deepEqual(
      first.examples.map(({ id }) => id),
      [ids[5], ids[2]],
    )
    assert.deepEqual(
      page({ limit: 2, ids: wanted, after: first.next ?? '' }).examples.map(({ id }) => id),
      [ids[9]],
    )
    await store.close()
  })

  test('ends before it has read too many bytes', async () => {
    const { store, examples, page } = await open()
    const long = Array.from({ length: 60 }, (_, i) => labelled(`${i} ${'x'.repeat(200_000)}`, 'a'))
    await examples.put(operator, 't', long)
    const first = page({ limit: 1_000 })
    assert.ok(first.examples.length < 30)
    assert.equal(texts(page({ limit: 1_000, search: 'nothing' })).length, 0)
    await assert.rejects(examples.put(operator, 't', [labelled('x'.repeat(300_000), 'a')]), { code: 'invalid_data' })
    await store.close()
  })
})

describe('one example', () => {
  test('can be corrected and deleted', async () => {
    const { store, examples, tenants } = await open()
    await examples.put(operator, 't', [{ ...labelled('good', 'neg'), predicted: { label: 'pos', score: 0.9 } }])
    const [id = ''] = finish(examples.page(operator, 't', { limit: 1 })).examples.map((example) => example.id)
    const patched = await examples.patch(operator, 't', id, () => ({ label: 'pos' }))
    assert.deepEqual([patched.label, patched.predicted], ['pos', { label: 'pos', score: 0.9 }])
    assert.deepEqual(examples.get(operator, 't', id), patched)
    assert.deepEqual(examples.dataset(operator, 't')?.labels, { pos: 1 })
    await examples.delete(operator, 't', id)
    assert.deepEqual(examples.dataset(operator, 't')?.labels, {})
    assert.deepEqual(tenants.usage(operator), { tasks: 1, bytes: 0, examples: 0 })
    await assert.rejects(examples.delete(operator, 't', id), { code: 'unknown_example' })
    await assert.rejects(
      examples.patch(operator, 't', id, () => ({ label: 'pos' })),
      { code: 'unknown_example' },
    )
    await store.close()
  })
})

describe('an export', () => {
  test('has the first examples by id, and ends if they are deleted', async () => {
    const { store, examples, page } = await open()
    const { incarnation = '' } = await examples.put(operator, 't', numbered(700))
    const exported: string[] = []
    for await (const some of examples.export(operator, 't', incarnation, 501))
      exported.push(...some.map(({ id }) => id))
    assert.deepEqual(
      exported,
      page({ limit: 501 }).examples.map(({ id }) => id),
    )
    const interrupted = async () => {
      for await (const _ of examples.export(operator, 't', incarnation, 700)) await examples.deleteAll(operator, 't')
    }
    await assert.rejects(interrupted, { code: 'examples_deleted' })
    await store.close()
  })
})
