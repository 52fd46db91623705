// A real Chromium for tests of the console, and a server as users run it.

import { existsSync } from 'node:fs'
import { after } from 'node:test'
import axe from 'axe-core'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { temporaryDirectory } from '../material.js'
import { ready, type ServerProcess, start } from '../server-process.js'

/** Where Debian's package `chromium` puts it. */
export const program = '/usr/bin/chromium'

/** Why tests with a browser are skipped here; false if they run. With PROPETL_TEST_BROWSER=1 they fail instead. */
export const withoutBrowser: string | false =
  !existsSync(program) && process.env.PROPETL_TEST_BROWSER === undefined
    ? `there is no ${program} (Debian's package chromium has it)`
    : false

export const operatorKey = 'an-operators-key-of-at-least-32-characters'

let browser: Promise<Browser> | undefined
after(async () => (await browser)?.close())

export interface OpenPage {
  readonly page: Page
  /** What the page reported: uncaught errors, violations of the security policy, requests to other hosts. */
  readonly complaints: string[]
}

/** A page in a session of its own. */
export async function openPage(url: string, options: BrowserContextOptions = {}): Promise<OpenPage> {
  browser ??= chromium.launch({ executablePath: program, args: ['--no-sandbox'] })
  const context = await (await browser).newContext({ viewport: { width: 1200, height: 800 }, ...options })
  const page = await context.newPage()
  page.setDefaultTimeout(15_000)
  const complaints: string[] = []
  const { host } = new URL(url)
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('request', (request) => {
    const { protocol, host: other } = new URL(request.url())
    if (protocol.startsWith('http') && other !== host) complaints.push(`request to ${other}`)
  })
  page.on('console', (message) => {
    if (/Content Security Policy/.test(message.text())) complaints.push(message.text())
  })
  await page.goto(url)
  return { page, complaints }
}

/** `propetl serve` with the bundled model, without API keys unless an operator's is given. */
export async function startServer(flags: readonly string[] = [], key?: string): Promise<ServerProcess> {
  const env = { ...process.env, ...(key !== undefined && { PROPETL_OPERATOR_KEY: key }) }
  const own = ['--data-dir', await temporaryDirectory(), '--engines', '1']
  return ready(start([], [...own, ...flags], { env }))
}

export async function signIn(page: Page, key: string): Promise<void> {
  await page.getByLabel('API key').fill(key)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('heading', { name: 'Tasks' }).waitFor()
}

/** What axe-core finds that keeps people from using the page. */
export async function seriousIssues(page: Page): Promise<string[]> {
  // addScriptTag would violate the policy of the page.
  await page.evaluate(axe.source)
  const { violations } = await page.evaluate(() => window.axe.run())
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`))
}

declare global {
  interface Window {
    readonly axe: typeof axe
  }
}
