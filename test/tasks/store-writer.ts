// A process that stores tasks without pause and reports each acknowledged change, until it is killed.

import { digestOf } from '../../src/formats/digest.js'
import { LmdbStore } from '../../src/store/lmdb.js'
import { TaskStore } from '../../src/tasks/store.js'
import { operator } from '../../src/tenants/tenant.js'

const [directory = '', round = ''] = process.argv.slice(2)
const store = await TaskStore.open(LmdbStore.open(directory))
for (let change = 0; ; change++) {
  const id = `task-${round}-${change % 7}`
  const file = Buffer.from(`${id} ${change} `.repeat(400))
  await store.put(operator, id, digestOf(file), file, () => {})
  process.send?.([id, digestOf(file)])
}
