// A replica's process that stores small and large tasks continuously, until it is killed. It sends each change to its
// parent before it tries the change, and sends the outcome afterwards.

import { randomBytes } from 'node:crypto'
import { digestOf } from '../../src/formats/digest.js'
import type { Problem } from '../../src/problem.js'
import { Mirror } from '../../src/store/mirror.js'
import { PostgresStore } from '../../src/store/postgres.js'
import { TaskStore } from '../../src/tasks/store.js'
import { operator } from '../../src/tenants/tenant.js'

const [url = '', directory = ''] = process.argv.slice(2)
const logger = { info() {}, warn() {} }
const store = await PostgresStore.open({ url, mirror: await Mirror.open(directory, logger), logger })
const tasks = await TaskStore.open(store)

async function write(writer: number): Promise<void> {
  for (let change = 0; ; change++) {
    const id = `t-${writer}-${change % 5}`
    const file = randomBytes(change % 10 === 9 ? 400_000 : 4_000)
    const digest = digestOf(file)
    process.send?.({ id, digest, outcome: 'tried' })
    await tasks
      .put(operator, id, digest, file, () => {})
      .then(
        () => process.send?.({ id, digest, outcome: 'made' }),
        ({ code }: Problem) => process.send?.({ id, digest, outcome: code }),
      )
  }
}

await Promise.all([write(0), write(1), write(2)])
