// The console in a real Chromium, on a server with many tasks: what the first load transfers, and how long it takes until
// a person can use the list.

import { chromium } from 'playwright-core'
import { type Benchmark, summary } from '../support/figures.js'
import { withTemporaryDirectory } from '../support/material.js'
import { startServerProcess } from '../support/process.js'
import { registerTasks } from '../support/registered-tasks.js'

const tasks = 10_000
const visits = 9
/** Where Debian's package `chromium` puts it. */
const program = '/usr/bin/chromium'

export const consolePage: Benchmark = (log) =>
  withTemporaryDirectory(async (directory) => {
    await registerTasks(directory, tasks, ['sst2'], log)
    const server = await startServerProcess(directory)
    const browser = await chromium.launch({ executablePath: program, args: ['--no-sandbox'] })
    const [milliseconds, kilobytes]: [number[], number[]] = [[], []]
    try {
      for (let visit = 1; visit <= visits; visit++) {
        // Without the cache of earlier visits.
        const context = await browser.newContext()
        const page = await context.newPage()
        let bytes = 0
        const counted: Promise<void>[] = []
        page.on('requestfinished', (request) => {
          const counting = request.sizes().then(({ responseBodySize, responseHeadersSize }) => {
            bytes += responseBodySize + responseHeadersSize
          })
          counted.push(counting)
        })
        const start = performance.now()
        await page.goto(server.url)
        await page.locator('tbody tr').nth(24).waitFor()
        // A click that the page handles.
        await page.getByRole('button', { name: 'New task' }).click()
        await page.getByRole('dialog').waitFor()
        milliseconds.push(performance.now() - start)
        page.removeAllListeners('requestfinished')
        await Promise.all(counted)
        kilobytes.push(bytes / 1000)
        await context.close()
        log(`console: visit ${visit} of ${visits}`)
      }
    } finally {
      await browser.close()
      await server.stop()
    }
    const of = `Console on a server with ${tasks.toLocaleString('en-US')} tasks`
    return [
      {
        name: `${of}: first load, compressed, with headers and data`,
        unit: 'kB',
        ...summary(kilobytes),
        target: { atMost: 200 },
      },
      {
        name: `${of}: from the address to a dialog that a click has opened`,
        unit: 'ms',
        ...summary(milliseconds),
        target: { atMost: 1_000 },
      },
    ]
  })
