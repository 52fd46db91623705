// `propetl check`: reads data files as learn would, and reports what is in them.

import type { TextTokenizer } from '../backbones/tokenizer.js'
import { detached } from '../data/detached.js'
import type { Example } from '../data/examples.js'
import { checkDataFile } from '../data/file-rows.js'
import { type FileSurvey, type OnExample, type SurveyOptions, sharedTexts, surveyFile } from '../data/file-survey.js'
import type { LabelSpace } from '../data/label-space.js'
import { type CheckedFile, checkAsJson, describeCheck, type TokenLengths } from '../data/survey-report.js'
import { loadModel } from '../learn/model.js'
import { Random } from '../learn/random.js'
import type { ProblemType } from '../petl/task.js'
import { Problem } from '../problem.js'
import { factLines } from './fact-lines.js'
import { findModelFiles } from './model-directory.js'
import { ProgressLine } from './progress-line.js'
import { type ColumnFlags, columnsOf } from './training-options.js'

export interface CheckFlags extends ColumnFlags {
  readonly dev?: string
  readonly problemType?: ProblemType
  readonly modelDir: string
  readonly maxLength: number
  readonly json?: boolean
}

/** Shorter work needs no progress line. */
const quietMs = 2000

/**
 * Reports each file; a file that cannot be read does not prevent the report of the others.
 * @returns the text to print, and whether a task can be trained on all files
 * @throws Problem for flags that cannot be used
 */
export async function check(
  paths: readonly string[],
  flags: CheckFlags,
): Promise<{ readonly text: string; readonly ok: boolean }> {
  const start = performance.now()
  const line = new ProgressLine(process.stderr)
  if (flags.dev !== undefined && paths.length > 1)
    throw new Problem('invalid_setting', `--dev belongs to one data file; ${paths.length} are given`)
  const { directory } = await findModelFiles(flags)
  const { tokenizer } = await loadModel(directory, flags.maxLength)
  const onReading = (path: string, rows: number) => {
    if (performance.now() - start > quietMs) line.reading(path, rows)
  }
  const reports: string[] = []
  let ok = true
  for (const path of paths) {
    try {
      const checked = await checkFile(path, flags, tokenizer, onReading)
      ok &&= checked.error === undefined
      reports.push(flags.json ? JSON.stringify(checkAsJson(checked)) : describeCheck(checked))
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      ok = false
      reports.push(
        flags.json
          ? JSON.stringify({ file: path, error: error.message })
          : factLines([
              ['file', path],
              ['error', error.message],
            ]),
      )
    }
    line.end()
  }
  return { text: reports.join(flags.json ? '\n' : '\n\n'), ok }
}

async function checkFile(
  path: string,
  flags: CheckFlags,
  tokenizer: TextTokenizer,
  onReading: (path: string, rows: number) => void,
): Promise<CheckedFile> {
  const { dev, problemType: problem } = flags
  if (dev !== undefined) await checkDataFile(dev)
  const columns = columnsOf(flags)
  let texts = new TextSample(tokenizer.maxCharacters)
  const survey = await surveyFile(path, {
    columns,
    ...(problem && { problem }),
    onReading,
    begin: () => {
      texts = new TextSample(tokenizer.maxCharacters)
      return texts.add
    },
  })
  return {
    survey,
    ...spaceOf(() => survey.labels.space),
    ...(survey.examples > 0 && { lengths: await tokenLengths(texts, tokenizer) }),
    ...(dev !== undefined && { dev: await checkDev(dev, survey, { columns, onReading }) }),
  }
}

/** Counts the examples of the file of dev examples, and the texts that it shares with the surveyed file. */
async function checkDev(
  path: string,
  { labels, texts }: FileSurvey,
  options: Pick<SurveyOptions, 'columns' | 'onReading'>,
): Promise<NonNullable<CheckedFile['dev']>> {
  const { found } = labels
  const { onExample, shared } = sharedTexts(texts)
  const { examples } = await surveyFile(path, {
    ...options,
    ...(found && { problem: found }),
    begin: () => onExample,
  })
  return { path, examples, shared }
}

function spaceOf(read: () => LabelSpace): { readonly space: LabelSpace } | { readonly error: string } {
  try {
    return { space: read() }
  } catch (error) {
    if (error instanceof Problem) return { error: error.message }
    throw error
  }
}

/** Enough for lengths that hardly differ from those of all texts. */
const sampleSize = 10_000

/** A uniform sample of texts, of bounded size, from any number of them (reservoir sampling). */
class TextSample {
  readonly texts: Example[] = []
  readonly #random = new Random(1, 'lengths')
  #seen = 0

  constructor(readonly maxCharacters: number) {}

  readonly add: OnExample = (example) => {
    const at = this.#seen < sampleSize ? this.#seen : this.#random.below(this.#seen + 1)
    this.#seen++
    if (at >= sampleSize) return
    const { place, text, textPair } = example
    this.texts[at] = {
      place,
      text: detached(text.slice(0, this.maxCharacters)),
      ...(textPair !== undefined && { textPair: detached(textPair.slice(0, this.maxCharacters)) }),
      label: '',
    }
  }
}

const tokenizerBatch = 512

async function tokenLengths({ texts }: TextSample, tokenizer: TextTokenizer): Promise<TokenLengths> {
  const lengths = new Float64Array(texts.length)
  for (let first = 0; first < texts.length; first += tokenizerBatch) {
    const encoded = await Promise.all(texts.slice(first, first + tokenizerBatch).map((text) => tokenizer.encode(text)))
    for (const [at, { fullLength }] of encoded.entries()) lengths[first + at] = fullLength
  }
  lengths.sort()
  const quantile = (share: number) => lengths[Math.ceil(share * lengths.length) - 1] ?? 0
  const limit = tokenizer.maxTokens
  return {
    examples: lengths.length,
    median: quantile(0.5),
    percentile95: quantile(0.95),
    longest: quantile(1),
    limit,
    cut: lengths.filter((length) => length > limit).length,
  }
}
