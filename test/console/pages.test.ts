// The pages of the console in a real browser, against a server as users run it.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer, request as sendRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { changedTask, floats, root, shiftedTask } from '../material.js'
import { put, type ServerProcess } from '../server-process.js'
import { openPage, operatorKey, seriousIssues, signIn, startServer, withoutBrowser } from './browser.js'

/** A task of the bundled model, which the servers of these tests have. */
const bundledTask = readFileSync(join(root, 'masks/sst2.safetensors'))

const lettersFile = `nr,body,kind
${Array.from({ length: 5 }, (_, nr) => `${nr},it broke after ${nr} days,complaint\n${nr},it still works after ${nr} years,praise`).join('\n')}
10,my letter was never answered,complaint
11,thank you so much,praise
`

/** A task that finds each word to be an entity. */
const entityTask = changedTask(bundledTask, {
  metadata: { problem_type: 'token_classification', labels: '["O","B-NAME"]' },
  tensors: { 'head.bias': floats([2], [-50, 50]) },
})

describe('the console', { skip: withoutBrowser }, () => {
  let open: ServerProcess
  let keyed: ServerProcess
  before(async () => {
    ;[open, keyed] = await Promise.all([startServer(), startServer([], operatorKey)])
  })

  const addresses = {
    tasks: '#/tasks',
    'a task to try': '#/tasks/sst2',
    'the examples of a task of the server': '#/tasks/sst2/examples',
    'learning of a task of the server': '#/tasks/sst2/learn',
    'a report': '#/tasks/mine/report',
    versions: '#/tasks/mine/versions',
    examples: '#/tasks/mine/examples',
    learning: '#/tasks/mine/learn',
    'a task that does not exist': '#/tasks/none',
    jobs: '#/jobs',
    health: '#/health',
    'an unknown page': '#/nothing',
  }

  for (const colorScheme of ['light', 'dark'] as const)
    test(`has no serious issue of accessibility, ${colorScheme}`, async () => {
      assert.ok((await put(open.url, 'mine', bundledTask)).ok)
      const { page, complaints } = await openPage(open.url, { colorScheme, reducedMotion: 'reduce' })
      for (const [name, address] of Object.entries(addresses)) {
        await page.goto(`${open.url}/${address}`)
        await page.waitForLoadState('networkidle').catch(() => {})
        await page.locator('main :is(h1, h2)').first().waitFor()
        assert.deepEqual(await seriousIssues(page), [], name)
      }
      assert.deepEqual(complaints, [])
    })

  for (const colorScheme of ['light', 'dark'] as const)
    test(`has no serious issue of accessibility in the pages of the operator, ${colorScheme}`, async () => {
      const { page, complaints } = await openPage(keyed.url, { colorScheme, reducedMotion: 'reduce' })
      await page.getByLabel('API key').waitFor()
      assert.deepEqual(await seriousIssues(page), [], 'sign in')
      await signIn(page, operatorKey)
      for (const address of ['#/tenants', '#/tenants/operator']) {
        await page.goto(`${keyed.url}/${address}`)
        await page.getByRole('heading', { level: 1 }).waitFor()
        await page.waitForLoadState('networkidle').catch(() => {})
        assert.deepEqual(await seriousIssues(page), [], address)
      }
      await page.getByRole('button', { name: 'New key' }).click()
      await page.getByRole('dialog').waitFor()
      assert.deepEqual(await seriousIssues(page), [], 'a dialog')
      assert.deepEqual(complaints, [])
    })

  test('fits a screen of 400 pixels', async () => {
    const { page } = await openPage(open.url, { viewport: { width: 400, height: 800 } })
    for (const [name, address] of Object.entries(addresses)) {
      await page.goto(`${open.url}/${address}`)
      await page.locator('main :is(h1, h2)').first().waitFor()
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 400, name)
    }
  })

  test('shows predictions as bars, marks entities, and compares pairs', async () => {
    const { page } = await openPage(`${open.url}/#/tasks/sst2`)
    await page.getByLabel('Text').fill('a gorgeous film\n\ntwo hours of nothing')
    await page.getByRole('button', { name: 'Predict' }).click()
    const [first, second] = [page.getByRole('article').nth(0), page.getByRole('article').nth(1)]
    assert.match((await first.locator('.chosen').textContent()) ?? '', /positive/)
    assert.match((await second.locator('.chosen').textContent()) ?? '', /negative/)

    assert.ok((await put(open.url, 'names', entityTask)).ok)
    await page.goto(`${open.url}/#/tasks/names`)
    await page.getByLabel('Text').fill('Ada <b>Lovelace</b>')
    await page.keyboard.press('Control+Enter')
    await page.locator('mark').first().waitFor()
    const marked = await page.locator('mark').allTextContents()
    // Markup in a text is text.
    assert.equal(
      marked
        .map((each) => each.replace(/NAME$/, ''))
        .join('')
        .replaceAll(' ', ''),
      'Ada<b>Lovelace</b>',
    )
    assert.ok(marked.every((each) => each.endsWith('NAME')))

    await page.goto(`${open.url}/#/tasks/mrpc`)
    await page.getByRole('button', { name: 'A pair of texts' }).click()
    await page.getByLabel('First text').fill('It rained.')
    await page.getByLabel('Second text').fill('Rain fell.')
    await page.keyboard.press('Control+Enter')
    await page.locator('article .chosen').waitFor()
  })

  test('works with the keyboard alone', async () => {
    const { page } = await openPage(open.url)
    await page.getByRole('heading', { name: 'Tasks' }).waitFor()
    await page.keyboard.press('Tab')
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Skip to the content')
    await page.keyboard.press('Enter')
    assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'MAIN')
    await page.getByRole('button', { name: 'New task' }).focus()
    await page.keyboard.press('Enter')
    await page.getByRole('dialog', { name: 'New task' }).waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'New task')
  })

  test('shows what the server says about an error, and the id of the request', async () => {
    const { page } = await openPage(`${open.url}/#/tasks/none`)
    const alert = page.getByRole('alert')
    await alert.waitFor()
    const { detail } = (await (await fetch(`${open.url}/tasks/none`)).json()) as { detail: string }
    const text = (await alert.textContent()) ?? ''
    assert.ok(text.toLowerCase().includes(detail.toLowerCase()), text)
    assert.match(text, /Request [0-9a-f-]{36}/)
  })

  test('keeps the key of the operator in the session only, and forgets it at sign-out', async () => {
    const { page } = await openPage(keyed.url)
    await page.getByLabel('API key').fill('not-a-key-of-this-server-at-all-0123456789')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('alert').waitFor()
    await signIn(page, operatorKey)
    const stored = () =>
      page.evaluate(() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie])
    assert.deepEqual(await stored(), [[operatorKey], [], ''])
    await page.reload()
    await page.getByRole('heading', { name: 'Tasks' }).waitFor()
    const other = await page.context().newPage()
    await other.goto(keyed.url)
    await other.getByLabel('API key').waitFor()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByLabel('API key').waitFor()
    assert.deepEqual(await stored(), [[], [], ''])
  })

  test('creates a tenant with limits, shows its key once, and revokes it', async () => {
    const { page } = await openPage(keyed.url)
    await signIn(page, operatorKey)
    await page.getByRole('link', { name: 'Tenants' }).click()
    await page.getByRole('button', { name: 'New tenant' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Id').fill('acme')
    await dialog.getByLabel('Tasks', { exact: true }).fill('7')
    await dialog.getByRole('button', { name: 'Create tenant' }).click()
    await page.getByText('0 of 7').waitFor()
    await page.getByRole('button', { name: 'New key' }).click()
    await page.getByLabel('Note').fill('the web shop')
    await page.getByRole('button', { name: 'Create key' }).click()
    const key = (await page.locator('.secret code').textContent()) ?? ''
    const usable = async () =>
      (await fetch(`${keyed.url}/tasks`, { headers: { authorization: `Bearer ${key}` } })).status
    assert.equal(await usable(), 200)

    const tenant = await openPage(keyed.url)
    await signIn(tenant.page, key)
    assert.equal(await tenant.page.getByRole('link', { name: 'Tenants' }).count(), 0)

    await page.reload()
    await page.getByText('the web shop').waitFor()
    assert.equal(await page.locator('.secret').count(), 0)
    await page.getByRole('button', { name: /^Revoke key/ }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke key' }).click()
    await page.getByText('No keys yet').waitFor()
    assert.equal(await usable(), 401)
    await page.getByRole('link', { name: 'Tenants' }).first().click()
    await page.getByRole('button', { name: 'New tenant' }).click()
    await dialog.getByLabel('Id').fill('acme')
    await dialog.getByRole('button', { name: 'Create tenant' }).click()
    await dialog.getByText('There is a tenant "acme" already').waitFor()
    await dialog.getByRole('button', { name: 'Cancel' }).click()
    await page.getByText('0 of 7').waitFor()
    // The page of the tenant asks for another key.
    await tenant.page.getByRole('link', { name: 'Jobs' }).click()
    await tenant.page.getByLabel('API key').waitFor()
  })

  test('checks a file before it is stored, and finds, corrects and deletes examples', async () => {
    const { page } = await openPage(open.url)
    const file = { name: 'letters (1).csv', mimeType: 'text/csv', buffer: Buffer.from(lettersFile) }
    await page.getByLabel('Drop a file with examples here').setInputFiles(file)
    const dialog = page.getByRole('dialog')
    assert.equal(await dialog.getByLabel('Id of the task').inputValue(), 'letters-1')
    await dialog.getByLabel('Id of the task').fill('letters')
    await dialog.getByLabel('Column of the texts').selectOption('body')
    await dialog.getByLabel('Column of the labels').selectOption('kind')
    await dialog.getByText('it broke after 0 days').waitFor()
    assert.deepEqual(await dialog.locator('.bars .name').allTextContents(), ['complaint', 'praise'])
    await dialog.getByRole('button', { name: 'Cancel' }).click()
    assert.equal((await fetch(`${open.url}/tasks/letters/examples`)).status, 404)

    await fetch(`${open.url}/tasks/letters/examples?text_column=body&label_column=kind`, {
      method: 'POST',
      headers: { 'content-type': 'text/csv' },
      body: lettersFile,
    })
    await page.goto(`${open.url}/#/tasks/letters/examples`)
    const rows = page.locator('tbody tr')
    await rows.nth(11).waitFor()
    await page.getByLabel('Label', { exact: true }).selectOption('praise')
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 6)
    await page.getByLabel('Search examples by text').fill('thank you')
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1)
    await page.getByRole('button', { name: 'Label: praise. Change it' }).click()
    await rows.first().getByLabel('Label', { exact: true }).fill('complaint')
    await page.keyboard.press('Enter')
    await page.getByRole('button', { name: 'Label: complaint. Change it' }).waitFor()
    await page.getByRole('button', { name: /^Delete the example/ }).click()
    await page.getByText('No example matches').waitFor()
    const { total } = (await (await fetch(`${open.url}/tasks/letters/examples`)).json()) as { total: number }
    assert.equal(total, 11)
  })

  test('compares versions, activates one as a trial, and rolls back', async () => {
    for (const shift of [0, 1]) assert.ok((await put(open.url, 'versioned', shiftedTask(bundledTask, shift))).ok)
    const { page } = await openPage(`${open.url}/#/tasks/versioned/versions`)
    await page.getByRole('link', { name: 'Compare version 1 with the live one' }).click()
    await page.getByLabel('Text').fill('a gorgeous film')
    await page.keyboard.press('Control+Enter')
    await page.locator('.side-by-side > div').nth(1).locator('.chosen').waitFor()
    await page.goto(`${open.url}/#/tasks/versioned/versions`)
    await page.getByRole('button', { name: 'Make version 1 the candidate' }).click()
    await page.getByLabel('Serve a part of the requests').check()
    await page.getByLabel('Part of the requests, in percent').fill('25')
    await page.getByRole('dialog').getByRole('button', { name: 'Make it the candidate' }).click()
    await page.getByText('It serves 25 % of the requests').waitFor()
    await page.getByRole('button', { name: 'Withdraw it' }).click()
    await page.getByRole('heading', { name: 'Version 1 is a candidate' }).waitFor({ state: 'detached' })
    await page.getByRole('button', { name: 'Roll back to version 1' }).click()
    await page.getByText('version 1 is live').waitFor()
    await page.getByRole('button', { name: 'Delete version 2' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Delete version' }).click()
    await page.getByRole('button', { name: 'Delete version 2' }).waitFor({ state: 'detached' })
    const { versions } = (await (await fetch(`${open.url}/tasks/versioned/versions`)).json()) as { versions: unknown[] }
    assert.equal(versions.length, 1)
  })

  test('loads a long list of tasks page by page, and finds a task by a part of its id', async () => {
    const server = await startServer()
    const ids = Array.from({ length: 60 }, (_, index) => `many-${String(index).padStart(2, '0')}`)
    for (const id of ids) assert.ok((await put(server.url, id, bundledTask)).ok)
    const { page } = await openPage(server.url)
    const lists: string[] = []
    page.on('request', (request) => {
      const { pathname, search } = new URL(request.url())
      // The page finds out who the user is by a list of one task.
      if (pathname === '/tasks' && search !== '?limit=1') lists.push(search)
    })
    const rows = page.locator('tbody tr')
    await rows.nth(24).waitFor()
    assert.equal(await rows.count(), 25)
    await page.getByRole('button', { name: 'Show more' }).click()
    await rows.nth(49).waitFor()
    assert.equal(await rows.count(), 50)
    assert.ok(lists.every((search) => search.includes('limit=25')))
    await page.getByLabel('Search tasks by id').fill('y-59')
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1)
    await page.getByRole('link', { name: 'many-59' }).waitFor()
    server.process.kill('SIGTERM')
    await server.exit
  })

  test('draws throughput, latency, queue and engines', async () => {
    const { page } = await openPage(`${open.url}/#/health`)
    await page.locator('canvas').nth(3).waitFor()
    await page.getByText('1 of 1 run').waitFor()
  })

  test('works under a path of a proxy', async () => {
    const proxy = createServer((request, response) => {
      if (!request.url?.startsWith('/models/')) return response.writeHead(404).end()
      const { method, headers } = request
      const path = request.url.slice('/models'.length)
      const upstream = sendRequest(`${open.url}${path}`, { method, headers }, (received) => {
        response.writeHead(received.statusCode ?? 502, received.headers)
        received.pipe(response)
      })
      return request.pipe(upstream)
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    after(() => proxy.close())
    const { port } = proxy.address() as AddressInfo
    const { page, complaints } = await openPage(`http://127.0.0.1:${port}/models/`)
    await page.getByRole('link', { name: 'sst2' }).click()
    await page.getByLabel('Text').fill('a gorgeous film')
    await page.keyboard.press('Control+Enter')
    await page.locator('article .chosen').waitFor()
    assert.deepEqual(complaints, [])
  })

  test('works with HTTP workers', async () => {
    const server = await startServer(['--http-workers', '2'])
    const { page, complaints } = await openPage(`${server.url}/#/tasks/sst2`)
    await page.getByLabel('Text').fill('a gorgeous film')
    await page.keyboard.press('Control+Enter')
    await page.locator('article .chosen').waitFor()
    assert.deepEqual(complaints, [])
    server.process.kill('SIGTERM')
    await server.exit
  })
})
