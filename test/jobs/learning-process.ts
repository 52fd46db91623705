// A process with a store and a runner of jobs, which a test kills. Its arguments are the data directory, and the URL of a
// database if there is one.

import { pino } from 'pino'
import { Mirror } from '../../src/store/mirror.js'
import { PostgresStore } from '../../src/store/postgres.js'
import { openLearning } from './material.js'

const [directory = '', url] = process.argv.slice(2)
const logger = pino({ level: 'silent' })
const store =
  url === undefined
    ? undefined
    : await PostgresStore.open({ url, mirror: await Mirror.open(directory, logger), logger, acceptHistory: undefined })
await openLearning({}, { directory, ...(store && { store }) })
process.send?.('ready')
