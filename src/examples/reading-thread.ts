// A worker thread that reads one file of examples. A file that takes long or needs much memory holds up nothing else.

import { parentPort, workerData } from 'node:worker_threads'
import { Problem } from '../problem.js'
import { type ExampleBatch, FileReader, type FileReport, type FileToRead } from './file-reading.js'

/** Asks for the next batch. The first one after the survey, and after an end, begins at the start of the file. */
export interface BatchRequest {
  readonly distinct: boolean
}

export type ReadingMessage =
  | { readonly kind: 'report'; readonly report: FileReport }
  | { readonly kind: 'batch'; readonly batch: ExampleBatch }
  | { readonly kind: 'end' }
  | { readonly kind: 'failed'; readonly message: string; readonly isInvalid: boolean }

const port = parentPort
if (port === null) throw new Error('examples/reading-thread.js runs as a worker thread')
const send = (message: ReadingMessage) => port.postMessage(message)

const reader = new FileReader(workerData as FileToRead)
let batches: AsyncGenerator<ExampleBatch> | undefined

async function next(distinct: boolean): Promise<ReadingMessage> {
  batches ??= reader.batches(distinct)
  const { done, value } = await batches.next()
  if (!done) return { kind: 'batch', batch: value }
  batches = undefined
  return { kind: 'end' }
}

const sendResult = (work: Promise<ReadingMessage>): Promise<void> =>
  work
    .catch((error: Error): ReadingMessage => {
      return { kind: 'failed', message: reader.shown(error.message), isInvalid: error instanceof Problem }
    })
    .then(send)

let previous = sendResult(reader.survey().then((report) => ({ kind: 'report', report })))
port.on('message', ({ distinct }: BatchRequest) => {
  previous = previous.then(() => sendResult(next(distinct)))
})
