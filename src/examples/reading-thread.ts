// A worker thread that reads files of examples, one after another. A file that takes long or needs much memory holds up
// nothing else.

import { parentPort } from 'node:worker_threads'
import { Problem } from '../problem.js'
import { type ExampleBatch, FileReader, type FileReport, type FileToRead } from './file-reading.js'

/**
 * `survey` opens another file. `next` asks for a batch; the first one after the survey, and after an end, begins at the start
 * of the file. Each request has one response.
 */
export type ReadingRequest =
  | { readonly kind: 'survey'; readonly file: FileToRead }
  | { readonly kind: 'next'; readonly distinct: boolean }

export type ReadingResponse =
  | { readonly kind: 'report'; readonly report: FileReport }
  | { readonly kind: 'batch'; readonly batch: ExampleBatch }
  | { readonly kind: 'end' }
  | { readonly kind: 'failed'; readonly message: string; readonly invalid: Problem['details'] | undefined }

const port = parentPort
if (port === null) throw new Error('examples/reading-thread.js runs as a worker thread')

let reader: FileReader | undefined
let batches: AsyncGenerator<ExampleBatch> | undefined

async function respond(request: ReadingRequest): Promise<ReadingResponse> {
  if (request.kind === 'survey') {
    reader = new FileReader(request.file)
    batches = undefined
    return { kind: 'report', report: await reader.survey() }
  }
  batches ??= reader?.batches(request.distinct)
  const next = await batches?.next()
  if (next?.done === false) return { kind: 'batch', batch: next.value }
  batches = undefined
  return { kind: 'end' }
}

const failed = (error: Error): ReadingResponse => ({
  kind: 'failed',
  message: reader?.shown(error.message) ?? error.message,
  invalid: error instanceof Problem ? error.details : undefined,
})

port.on('message', (request: ReadingRequest) => {
  void respond(request)
    .catch(failed)
    .then((response) => port.postMessage(response))
})
