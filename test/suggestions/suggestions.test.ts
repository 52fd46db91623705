import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Problem } from '../../src/problem.js'
import { finish } from '../../src/steps.js'
import { mostTexts } from '../../src/suggestions/recent-texts.js'
import { type IsExample, Suggestions } from '../../src/suggestions/suggestions.js'
import { TextBuffer } from '../../src/suggestions/text-buffer.js'
import { removeTenant } from '../../src/tasks/removal.js'
import type { PredictedText } from '../../src/tasks/text-collection.js'
import { operator } from '../../src/tenants/tenant.js'
import { anyVersion, newTenant, openStore, removerOf } from '../tenants/material.js'

const day = 86_400_000
const anyTask = () => {}
const none: IsExample = () => false

/** A store with a task of the operator and one of a tenant, and a clock that the test sets. */
async function open(directory?: string) {
  const stores = await openStore(directory)
  const clock = { now: Date.UTC(2026, 0, 1) }
  const warnings: object[] = []
  const suggestions = new Suggestions(stores.store, { warn: (details) => warnings.push(details) }, () => clock.now)
  await stores.tasks.put(operator, 'mine', 'd1', Buffer.from('file'), anyVersion)
  return { ...stores, suggestions, clock, warnings }
}

let requests = 0
const predicted = (text: string, uncertainty: number, more: Partial<PredictedText> = {}): PredictedText => ({
  text,
  uncertainty,
  label: 'good',
  score: 1 - uncertainty / 2,
  version: 'd1',
  requestId: `r${requests++}`,
  index: 0,
  ...more,
})

type Opened = Awaited<ReturnType<typeof open>>

const collect = ({ suggestions }: Opened, owner: string, id: string, ...texts: readonly PredictedText[]): void => {
  for (const text of texts) suggestions.collector.collects(owner, id)?.(text)
}
const listed = ({ suggestions }: Opened, owner: string, id: string, limit = 100, isExample = none): string[] =>
  finish(suggestions.suggest(owner, id, limit, isExample)).map(({ text }) => text)
const keysOf = ({ store }: Opened): string[] => Array.from(store.range('recent'), ([key]) => key)
const usageBytes = ({ store }: Opened, owner: string): number =>
  (JSON.parse(store.get('usage', owner)?.toString() ?? '{"bytes":0}') as { bytes: number }).bytes
const hasCode = (code: string) => (error: unknown) => error instanceof Problem && error.code === code

describe('kept texts', () => {
  test('are none until the owner switches that on', async () => {
    const server = await open()
    assert.equal(server.suggestions.collector.collects(operator, 'mine'), undefined)
    assert.throws(() => listed(server, operator, 'mine'), hasCode('texts_not_kept'))
    const { before, after } = await server.suggestions.keep(operator, 'mine', 7, anyTask)
    assert.deepEqual([before, after?.days], [undefined, 7])
    collect(server, operator, 'mine', predicted('a', 0.2), predicted('b', 0.9), predicted('c', 0.5))
    collect(server, operator, 'other', predicted('d', 1))
    await server.suggestions.flush()
    assert.deepEqual(listed(server, operator, 'mine'), ['b', 'c', 'a'])
    assert.deepEqual(listed(server, operator, 'mine', 2), ['b', 'c'])
    await server.store.close()
  })

  test('count how often they were seen, with the last prediction', async () => {
    const server = await open()
    await server.suggestions.keep(operator, 'mine', 7, anyTask)
    collect(server, operator, 'mine', predicted('a', 0.2), predicted('a', 0.4))
    await server.suggestions.flush()
    collect(server, operator, 'mine', predicted('a', 0.7, { requestId: 'last', index: 3, label: 'bad', version: 'd2' }))
    await server.suggestions.flush()
    const [suggestion, ...others] = finish(server.suggestions.suggest(operator, 'mine', 10, none))
    assert.deepEqual(others, [])
    assert.deepEqual(suggestion, {
      ...{ text: 'a', label: 'bad', score: 0.65, version: 'd2', requestId: 'last', index: 3, seen: 3 },
    })
    assert.equal(server.suggestions.keeping(operator, 'mine')?.texts, 1)
    await server.store.close()
  })

  test('are found by the request and the place in it, also before they are written', async () => {
    const server = await open()
    const find = (requestId: string, index: number) =>
      finish(server.suggestions.find(operator, 'mine', requestId, index)).text
    assert.throws(() => find('r', 0), hasCode('unknown_request'))
    await server.suggestions.keep(operator, 'mine', 7, anyTask)
    const pair = predicted('a', 0.4, { requestId: 'r', index: 1, textPair: 'b' })
    collect(server, operator, 'mine', predicted('x', 0.5, { requestId: 'r', index: 0 }), pair)
    assert.equal(find('r', 1), 'a')
    await server.suggestions.flush()
    assert.equal(find('r', 0), 'x')
    assert.equal(finish(server.suggestions.find(operator, 'mine', 'r', 1)).textPair, 'b')
    assert.throws(() => find('r', 2), hasCode('unknown_request'))
    assert.throws(() => find('s', 0), hasCode('unknown_request'))
    await server.store.close()
  })

  test('are suggested once if they differ only in case, punctuation or spaces, and not if they are examples', async () => {
    const server = await open()
    await server.suggestions.keep(operator, 'mine', 7, anyTask)
    const texts = ['Good film!', 'good  film', 'GOOD, FILM', '👍', '👎', '...', '!!!', 'bad film'].map((text, i) =>
      predicted(text, 0.9 - i / 100),
    )
    collect(server, operator, 'mine', ...texts)
    await server.suggestions.flush()
    assert.deepEqual(listed(server, operator, 'mine'), ['Good film!', '👍', '👎', '...', '!!!', 'bad film'])
    assert.deepEqual(
      listed(server, operator, 'mine', 3, ({ text }) => text.startsWith('👎') || text === 'Good film!'),
      ['good  film', '👍', '...'],
    )
    await server.store.close()
  })

  test('are deleted when they were not seen within their days', async () => {
    const server = await open()
    const { suggestions, clock } = server
    await suggestions.keep(operator, 'mine', 2, anyTask)
    collect(server, operator, 'mine', predicted('old', 0.9), predicted('seen again', 0.8))
    await suggestions.flush()
    const before = usageBytes(server, operator)
    clock.now += 1.5 * day
    collect(server, operator, 'mine', predicted('seen again', 0.8), predicted('new', 0.1))
    await suggestions.flush()
    await suggestions.sweep()
    assert.deepEqual(listed(server, operator, 'mine'), ['old', 'seen again', 'new'])
    clock.now += 0.6 * day
    // It is not listed, even if it is not deleted yet.
    assert.deepEqual(listed(server, operator, 'mine'), ['seen again', 'new'])
    await suggestions.sweep()
    assert.equal(keysOf(server).length, 1 + 2 * 2)
    assert.equal(suggestions.keeping(operator, 'mine')?.texts, 2)
    clock.now += 2 * day
    await suggestions.sweep()
    assert.deepEqual(keysOf(server), ['mine/'])
    assert.ok(before > 4 && usageBytes(server, operator) === 4, 'only the file counts')
    await server.store.close()
  })

  test('are deleted when keeping is switched off, and stay deleted when it is switched on again', async () => {
    const server = await open()
    const { suggestions } = server
    await suggestions.keep(operator, 'mine', 7, anyTask)
    for (let batch = 0; batch < 4; batch++) {
      collect(server, operator, 'mine', ...Array.from({ length: 100 }, (_, i) => predicted(`${batch} ${i}`, 0.5)))
      await suggestions.flush()
    }
    assert.equal(suggestions.keeping(operator, 'mine')?.texts, 400)
    const waiting = suggestions.collector.collects(operator, 'mine')
    await suggestions.keep(operator, 'mine', null, anyTask)
    assert.equal(usageBytes(server, operator), 4)
    assert.throws(() => listed(server, operator, 'mine'), hasCode('texts_not_kept'))
    await suggestions.keep(operator, 'mine', 7, anyTask)
    // A prediction that began before.
    waiting?.(predicted('late', 1))
    await suggestions.flush()
    assert.deepEqual(listed(server, operator, 'mine'), [])
    await suggestions.sweep()
    assert.deepEqual(keysOf(server), ['mine/'])
    await server.store.close()
  })

  test('are deleted with their task and with their tenant', async () => {
    const server = await open()
    const { suggestions, tenants, tasks } = server
    const acme = await newTenant(tenants, 'acme')
    await newTenant(tenants, 'acme-b')
    for (const id of ['one', 'two']) {
      await tasks.put(acme, id, 'd1', Buffer.from('file'), anyVersion)
      await suggestions.keep(acme, id, 7, anyTask)
      collect(server, 'acme', id, predicted('a', 0.5), predicted('b', 0.5))
    }
    await suggestions.keep(operator, 'mine', 7, anyTask)
    collect(server, operator, 'mine', predicted('c', 0.5))
    await suggestions.flush()
    await tasks.delete(acme, 'one', anyVersion)
    assert.equal(suggestions.keeping('acme', 'one'), undefined)
    assert.equal(usageBytes(server, 'acme'), 4 + (suggestions.keeping('acme', 'two')?.bytes ?? 0))
    await suggestions.sweep()
    assert.deepEqual(
      keysOf(server).filter((key) => key.startsWith('~acme/one')),
      [],
    )
    await removeTenant({ tenants, tasks }, 'acme', removerOf('test'))
    assert.ok(keysOf(server).every((key) => key.startsWith('mine/')))
    // A later tenant with the same id.
    const later = await newTenant(tenants, 'acme')
    await tasks.put(later, 'two', 'd1', Buffer.from('file'), anyVersion)
    assert.equal(suggestions.keeping('acme', 'two'), undefined)
    await suggestions.flush()
    assert.equal(usageBytes(server, 'acme'), 4)
    await server.store.close()
  })

  test('are at most 2,000 for a task: the most certain and the oldest are evicted', async () => {
    const server = await open()
    const { suggestions, clock } = server
    await suggestions.keep(operator, 'mine', 10, anyTask)
    for (let batch = 0; batch < 30; batch++) {
      clock.now += 60_000
      collect(
        server,
        operator,
        'mine',
        ...Array.from({ length: 100 }, (_, i) => predicted(`${batch} ${i}`, i % 2 === 0 ? 0.9 : 0.1)),
      )
      await suggestions.flush()
      const { texts = 0, bytes = 0 } = suggestions.keeping(operator, 'mine') ?? {}
      assert.ok(texts <= mostTexts)
      assert.equal(usageBytes(server, operator), 4 + bytes)
    }
    const found = listed(server, operator, 'mine', 10_000)
    assert.equal(found.length, suggestions.keeping(operator, 'mine')?.texts)
    const unsure = found.filter((text) => Number(text.split(' ')[1]) % 2 === 0)
    assert.equal(unsure.length, 1_500, 'an unsure text was evicted before a certain one')
    clock.now += 8 * day
    for (let batch = 30; batch < 38; batch++) {
      collect(server, operator, 'mine', ...Array.from({ length: 100 }, (_, i) => predicted(`${batch} ${i}`, 0.5)))
      await suggestions.flush()
    }
    const later = listed(server, operator, 'mine', 10_000)
    assert.ok(later.length <= mostTexts)
    const newer = later.filter((text) => Number(text.split(' ')[0]) >= 30)
    assert.equal(newer.length, 800, 'a new text was evicted before an old one')
    await server.store.close()
  })

  test('count in the quota of bytes, and do not exceed it', async () => {
    const server = await open()
    const { suggestions, tenants, tasks } = server
    const acme = await newTenant(tenants, 'acme', { bytes: 5_000 })
    await tasks.put(acme, 'one', 'd1', Buffer.from('file'), anyVersion)
    await suggestions.keep(acme, 'one', 7, anyTask)
    collect(server, 'acme', 'one', ...Array.from({ length: 50 }, (_, i) => predicted(`text ${i}`, i / 50)))
    await suggestions.flush()
    const used = usageBytes(server, 'acme')
    assert.ok(used > 4_000 && used <= 5_000, `${used}`)
    const { texts = 0 } = suggestions.keeping('acme', 'one') ?? {}
    assert.deepEqual([suggestions.kept, suggestions.dropped], [texts, 50 - texts])
    assert.equal(listed(server, 'acme', 'one')[0], 'text 49', 'the least sure texts come first')
    assert.deepEqual(server.warnings, [])
    await server.store.close()
  })

  test('are dropped, and named in no log line, while the store accepts no changes', async () => {
    const server = await open()
    const { suggestions, store, warnings } = server
    await suggestions.keep(operator, 'mine', 7, anyTask)
    collect(server, operator, 'mine', predicted('a secret', 0.5))
    store.change = () => Promise.reject(new Problem('storage_unavailable', 'the store is away'))
    await suggestions.flush()
    assert.deepEqual([suggestions.kept, suggestions.dropped, suggestions.buffer.bytes], [0, 1, 0])
    assert.deepEqual(warnings, [{ texts: 1, reason: 'the store is away' }])
    await store.close()
  })

  test('are rejected if they are long, or their labels are', async () => {
    const server = await open()
    const { suggestions } = server
    await suggestions.keep(operator, 'mine', 7, anyTask)
    collect(
      server,
      operator,
      'mine',
      predicted('x'.repeat(8_193), 1),
      predicted('é'.repeat(5_000), 1),
      predicted('a', 1, { textPair: 'y'.repeat(8_192) }),
      predicted('b', 1, { label: Array.from({ length: 100_000 }, () => 'l') }),
      predicted('c', 1, { label: ['l'.repeat(100_000)] }),
      predicted('d', Number.NaN),
      predicted('z'.repeat(8_192), 1),
    )
    await suggestions.flush()
    assert.deepEqual(listed(server, operator, 'mine'), ['z'.repeat(8_192)])
    await server.store.close()
  })

  test('of a flood by one owner leave room for others', async () => {
    const server = await open()
    const { suggestions, tenants, tasks } = server
    const flood = await newTenant(tenants, 'flood')
    const acme = await newTenant(tenants, 'acme')
    for (const [owner, count] of [[flood, 60] as const, [acme, 1] as const])
      for (let i = 0; i < count; i++) {
        await tasks.put(owner, `t${i}`, 'd1', Buffer.from('file'), anyVersion)
        await suggestions.keep(owner, `t${i}`, 7, anyTask)
      }
    for (let i = 0; i < 20_000; i++)
      suggestions.collector.collects('flood', `t${i % 60}`)?.(predicted(`${i} ${'x'.repeat(1_000)}`, Math.random()))
    assert.ok(suggestions.buffer.bytes <= 2 ** 21, 'half of the memory')
    for (let i = 0; i < 100; i++) suggestions.collector.collects('acme', 't0')?.(predicted(`acme ${i}`, 0.5))
    await suggestions.flush()
    assert.equal(listed(server, 'acme', 't0').length, 100)
    await server.store.close()
  })

  test('survive a restart, with the setting', async () => {
    const first = await open()
    await first.suggestions.keep(operator, 'mine', 7, anyTask)
    collect(first, operator, 'mine', predicted('a', 0.5))
    await first.suggestions.flush()
    const { path } = first.store.sharedFile ?? { path: '' }
    await first.store.close()
    const second = await open(path.replace(/\/[^/]*$/, ''))
    assert.deepEqual(listed(second, operator, 'mine'), ['a'])
    await second.store.close()
  })
})

describe('the buffer', () => {
  const seen = (text: string, uncertainty: number) => ({ ...predicted(text, uncertainty), at: 0, seen: 1 })

  test('has at most 100 texts of a task, the least sure ones of all that were added', () => {
    const buffer = new TextBuffer(2 ** 22)
    const shuffled = Array.from({ length: 5_000 }, (_, i) => (i * 1_777) % 5_000)
    for (const i of shuffled) buffer.add('acme', 'one', 'i', seen(`text ${i}`, i / 5_000))
    const [taken] = buffer.take()
    assert.deepEqual(
      taken?.texts.map(({ text }) => text),
      Array.from({ length: 100 }, (_, i) => `text ${4_999 - i}`),
    )
    assert.deepEqual([buffer.take(), buffer.bytes, buffer.dropped], [[], 0, 0])
  })

  test('prefers the least sure texts also while its memory is used up', () => {
    const buffer = new TextBuffer(2 ** 18)
    for (let i = 0; i < 1_000; i++) buffer.add('acme', 'one', 'i', seen(`${i} ${'x'.repeat(8_000)}`, i / 1_000))
    assert.ok(buffer.bytes <= 2 ** 17 + 2 ** 13, 'about half')
    const [taken] = buffer.take()
    assert.ok(
      taken !== undefined && taken.texts.length > 0 && taken.texts.every(({ uncertainty }) => uncertainty > 0.9),
    )
  })

  test('drops and counts texts for which an owner has no memory, and leaves the other half to others', () => {
    const buffer = new TextBuffer(2 ** 18)
    for (let i = 0; i < 1_000; i++) buffer.add('flood', `t${i}`, 'i', seen('x'.repeat(1_000), 0.5))
    const { bytes, dropped } = buffer
    assert.ok(dropped > 0 && bytes <= 2 ** 17)
    buffer.add('acme', 'one', 'i', seen('a text', 0.5))
    assert.deepEqual([buffer.dropped, buffer.bytes > bytes], [dropped, true])
    assert.equal(
      buffer.take().reduce((sum, { texts }) => sum + texts.length, 0),
      1_001 - dropped,
    )
  })
})

describe('the collector', () => {
  test('asks the store again after a second, and does not fail while the store cannot be read', async () => {
    const server = await open()
    const { suggestions, clock } = server
    const { collector } = suggestions
    assert.equal(collector.collects(operator, 'mine'), undefined)
    // As another process of the server, or another replica, does it.
    const other = new Suggestions(server.store, { warn() {} }, () => clock.now)
    await other.keep(operator, 'mine', 7, anyTask)
    assert.equal(collector.collects(operator, 'mine'), undefined)
    clock.now += 1_000
    assert.notEqual(collector.collects(operator, 'mine'), undefined)
    clock.now -= 60_000
    await other.keep(operator, 'mine', null, anyTask)
    assert.equal(collector.collects(operator, 'mine'), undefined, 'the clock was set back')
    await server.store.close()
    clock.now += 5_000
    assert.equal(collector.collects(operator, 'mine'), undefined)
  })
})
