// A process that posts the examples of a test without pause, until it is killed.

import { ExampleStore } from '../../src/examples/example-store.js'
import { LmdbStore } from '../../src/store/lmdb.js'
import { operator } from '../../src/tenants/tenant.js'
import { killedExamples } from './killed-examples.js'

const [directory = ''] = process.argv.slice(2)
const examples = new ExampleStore(LmdbStore.open(directory))
process.send?.('started')
await examples.put(operator, 't', killedExamples)
process.send?.('finished')
