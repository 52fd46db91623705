import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ModelType } from '../../src/backbones/families.js'
import { TextTokenizer } from '../../src/backbones/tokenizer.js'
import { readTaskFile } from '../../src/formats/task-file.js'
import { labelWords } from '../../src/tasks/words.js'
import { directoryOf } from '../backbones/tiny.js'
import { changedTask, floats, taskBytes } from '../material.js'

const task = readTaskFile(
  changedTask(taskBytes('sst2'), {
    metadata: { problem_type: 'token_classification', labels: '["even","odd"]' },
    tensors: { 'head.weight': floats([2, 1], [-1, 1]), 'head.bias': floats([2], [0.5, -0.5]) },
  }),
)

const tokenizers: ModelType[] = ['bert', 'roberta', 'xlm-roberta', 'mpnet']
for (const name of tokenizers)
  test(`words of a text have the label of their first token, and are where the text has them, by ${name}`, async () => {
    const tokenizer = new TextTokenizer(join(directoryOf(name), 'tokenizer.json'), 64)
    const text = 'He left\n the  moon'
    const { encoding } = await tokenizer.encode({ text })
    // A token's hidden state is its number modulo 2, so that the head says which of them it saw.
    const hidden = Float32Array.from({ length: encoding.getLength() }, (_, token) => token % 2)
    const { words } = labelWords(task, text, encoding, hidden, { rawScores: false })
    const label = (start: number) => ((encoding.charToToken(start) ?? Number.NaN) % 2 === 0 ? 'even' : 'odd')
    assert.deepEqual(
      words.map(({ text, start, end, label }) => ({ text, start, end, label })),
      [
        { text: 'He', start: 0, end: 2, label: label(0) },
        { text: 'left', start: 3, end: 7, label: label(3) },
        { text: 'the', start: 9, end: 12, label: label(9) },
        { text: 'moon', start: 14, end: 18, label: label(14) },
      ],
    )
  })
