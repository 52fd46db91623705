// Makes the pictures of the console in docs: a server with the bundled model learns a task, and a browser shows it.
// Run by `npm run screenshots`.

import { statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { chromium, type Page } from 'playwright-core'
import { root, temporaryDirectory } from '../material.js'
import { ready, start } from '../server-process.js'
import { program } from './browser.js'

/** A larger file would make the repository and the page slow. */
const mostBytes = 150_000

const server = await ready(start([], ['--data-dir', await temporaryDirectory(), '--engines', '1']))
const browser = await chromium.launch({ executablePath: program, args: ['--no-sandbox'] })
const page = await browser.newPage({ viewport: { width: 1120, height: 720 }, colorScheme: 'light' })
page.setDefaultTimeout(180_000)

async function take(name: string): Promise<void> {
  const path = join(root, `docs/console-${name}.png`)
  // Without the caret and with charts drawn.
  await page.waitForTimeout(500)
  await page.screenshot({ path, animations: 'disabled', caret: 'hide' })
  const { size } = statSync(path)
  if (size > mostBytes) {
    await rm(path)
    throw new Error(`the picture ${name} has ${size} bytes, more than ${mostBytes}`)
  }
  process.stdout.write(`${path}: ${size} bytes\n`)
}

const tab = (of: Page, name: string) => of.getByRole('link', { name, exact: true }).click()

await page.goto(server.url)
await page.getByLabel('Drop a file with examples here').setInputFiles(join(root, 'examples/tickets.csv'))
await page.getByText('200 rows').waitFor()
await page.getByRole('button', { name: 'Add 200 examples and learn' }).click()
await page.locator('.phases .now', { hasText: 'Training' }).waitFor()
await page.locator('canvas').waitFor()
// Until held-out examples were scored a few times.
await page.waitForTimeout(15_000)
await take('learn')
await page.getByRole('heading', { name: 'Learned' }).waitFor()
await tab(page, 'Report')
await page.getByRole('heading', { name: 'Confusion matrix' }).waitFor()
await take('report')
await tab(page, 'Examples')
await page.getByLabel('The model disagrees').check()
await page.waitForTimeout(1000)
await take('examples')
await page.emulateMedia({ colorScheme: 'dark' })
await tab(page, 'Versions')
await page.getByRole('heading', { name: 'tickets' }).waitFor()
await take('versions')

await browser.close()
server.process.kill('SIGTERM')
await server.exit
