// The way of a newcomer in a real browser: sign in, drop a file, watch the task learn, try it, correct two examples, learn
// again, compare both versions, and roll back.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { root } from '../material.js'
import { openPage, operatorKey, seriousIssues, signIn, startServer, withoutBrowser } from './browser.js'

/** Two columns and 80 rows. */
const lines = readFileSync(join(root, 'examples/tickets.csv'), 'utf8').split('\n').slice(0, 81)
const file = { name: 'tickets.csv', mimeType: 'text/csv', buffer: Buffer.from(lines.join('\n')) }

/** A job learns for some seconds, and the machine may be busy. */
const learned = { timeout: 300_000 }

test('a newcomer makes a task of a file, corrects it, and rolls back', { skip: withoutBrowser }, async () => {
  const server = await startServer([], operatorKey)
  const { page, complaints } = await openPage(server.url)
  await signIn(page, operatorKey)

  // A file.
  await page.getByLabel('Drop a file with examples here').setInputFiles(file)
  const dialog = page.getByRole('dialog', { name: 'New task' })
  assert.equal(await dialog.getByLabel('Id of the task').inputValue(), 'tickets')
  await dialog.getByText('80 rows').waitFor()
  assert.equal(await dialog.getByLabel('Column of the labels').inputValue(), 'label')
  assert.equal(await dialog.locator('.bars li').count(), 4)
  await dialog.getByRole('button', { name: 'Add 80 examples and learn' }).click()

  // It learns.
  await page.getByRole('heading', { name: 'tickets' }).waitFor()
  await page.getByRole('progressbar', { name: 'Progress of the job' }).waitFor(learned)
  await page.getByRole('heading', { name: 'Learned' }).waitFor(learned)
  await page.getByRole('img', { name: /Loss by step/ }).waitFor()
  assert.deepEqual(await seriousIssues(page), [])
  const version = async () =>
    Number(/version (\d+) is live/.exec((await page.locator('.heading').first().textContent()) ?? '')?.[1])
  const first = await version()
  assert.ok(first >= 1)

  // Its report.
  await page.getByRole('link', { name: 'Report', exact: true }).click()
  await page.getByRole('heading', { name: 'Confusion matrix' }).waitFor()
  await page.getByRole('img', { name: /Reliability/ }).waitFor()
  assert.deepEqual(await seriousIssues(page), [])

  // Try it, and correct what it predicts.
  await page.getByRole('link', { name: 'Try', exact: true }).click()
  const texts = ['I was charged twice for the same month', 'The app closes when I open the camera']
  await page.getByLabel('Text').fill(texts.join('\n\n'))
  await page.getByRole('button', { name: 'Predict' }).click()
  for (const [index, label] of ['bug', 'billing'].entries()) {
    const article = page.getByRole('article').nth(index)
    await article.locator('.chosen').waitFor()
    await article.getByLabel('Correct label').fill(label)
    await article.getByRole('button', { name: 'Correct it' }).click()
    await article.getByText('Kept as an example').waitFor()
  }

  // Correct two examples in the table.
  await page.getByRole('link', { name: 'Examples', exact: true }).click()
  await page.getByText('82 examples').waitFor()
  assert.deepEqual(await seriousIssues(page), [])
  for (const text of texts) {
    await page.getByLabel('Search examples by text').fill(text)
    const row = page.getByRole('row').filter({ hasText: text })
    await page.waitForFunction(() => document.querySelectorAll('section[aria-label="Examples"] tbody tr').length === 1)
    await row.getByRole('button', { name: /^Label:/ }).click()
    await row.getByLabel('Label', { exact: true }).fill(text.includes('charged') ? 'billing' : 'bug')
    await page.keyboard.press('Enter')
    await row.getByRole('button', { name: `Label: ${text.includes('charged') ? 'billing' : 'bug'}` }).waitFor()
  }

  // Learn again.
  await page.getByRole('link', { name: 'Learn', exact: true }).click()
  await page.getByLabel('When it has learned').selectOption('always')
  await page.getByRole('button', { name: 'Learn', exact: true }).click()
  await page.getByRole('heading', { name: 'Learned' }).waitFor(learned)
  await page.waitForFunction((old) => !document.body.textContent?.includes(`version ${old} is live`), first)
  const second = await version()
  assert.ok(second > first)

  // Compare.
  await page.getByRole('link', { name: 'Versions', exact: true }).click()
  await page.getByRole('link', { name: `Compare version ${first} with the live one` }).click()
  await page.getByLabel('Text').fill('Please refund my last payment')
  await page.getByRole('button', { name: 'Predict' }).click()
  await page.getByRole('heading', { name: `Version ${second}` }).waitFor()
  await page.getByRole('heading', { name: `Version ${first}` }).waitFor()
  await page.locator('.side-by-side > div').nth(1).locator('.chosen').waitFor()
  assert.deepEqual(await seriousIssues(page), [])

  // Roll back.
  await page.getByRole('link', { name: 'Versions', exact: true }).click()
  await page.getByRole('button', { name: `Roll back to version ${first}` }).click()
  await page.getByText(`version ${first} is live`).waitFor()
  await page.getByRole('button', { name: `Activate version ${second}` }).waitFor()

  await page.getByRole('link', { name: 'Jobs' }).click()
  await page.getByText('succeeded').nth(1).waitFor()
  assert.deepEqual(complaints, [])
})
