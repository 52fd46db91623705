// Schemas of examples: what a task is trained on.

import { Type } from 'typebox'
import { exampleId, exampleIdPattern } from '../../examples/example.js'
import { problemTypes } from '../../petl/task.js'
import { list, nextPage, oneOf } from './common.js'
import { component } from './component.js'
import { ownTaskParams } from './tasks.js'

/** Longest label in characters, and most labels of an example in JSON. */
const maxLabelLength = 1_000
const maxLabels = 10_000
const maxTextLength = 100_000

const documented = { text: 'The parcel arrived broken', label: 'damage' }

export const exampleParams = Type.Object({
  ...ownTaskParams.properties,
  example: Type.String({ description: 'Id of the example', examples: [exampleId(documented)] }),
})

const oneLabel = Type.String({ minLength: 1, maxLength: maxLabelLength })
const label = Type.Union([oneLabel, Type.Number(), Type.Array(oneLabel, { maxItems: maxLabels })], {
  description: 'A class, a number, or the classes that apply',
})
const tags = Type.Array(oneLabel, { maxItems: maxLabels, description: 'The label of each word of `tokens`' })
const span = Type.Object(
  {
    start: Type.Integer({ minimum: 0, description: 'First UTF-16 offset in the text' }),
    end: Type.Integer({ minimum: 1, description: 'Last UTF-16 offset in the text, exclusive' }),
    label: oneLabel,
  },
  { additionalProperties: false },
)
const spans = Type.Array(span, { maxItems: maxLabels, description: 'Labelled parts of the text: entities' })
const text = Type.String({ minLength: 1, maxLength: maxTextLength })
const predicted = Type.Object(
  {
    label,
    score: Type.Optional(Type.Number({ description: 'Probability, or the value of a regression' })),
    version: Type.Optional(Type.String({ maxLength: 64, description: 'Digest of the version that predicted it' })),
  },
  { additionalProperties: false, description: 'What the task predicted for the text' },
)

/** For the document: the bodies are files, which the readers of data files check. */
export const newExamples = component(
  'NewExamples',
  Type.Array(
    Type.Object({
      text: Type.Optional(Type.String()),
      text_pair: Type.Optional(Type.String()),
      tokens: Type.Optional(Type.Array(Type.String(), { description: 'Words, instead of `text`' })),
      label: Type.Optional(label),
      tags: Type.Optional(tags),
    }),
    {
      examples: [[documented, { text: 'When will it be delivered?', label: 'delivery' }]],
    },
  ),
)
export const examplesFile = component(
  'ExamplesFile',
  Type.String({
    description: 'A file of examples, as `propetl learn` reads it',
    examples: ['text,label\n"The parcel arrived broken",damage\n'],
  }),
)

const columnName = (description: string) => Type.Optional(Type.String({ minLength: 1, maxLength: 200, description }))
const names = (description: string) => Type.Optional(Type.String({ minLength: 1, maxLength: 10_000, description }))
export const postExamplesQuery = Type.Object(
  {
    text_column: columnName('Column of the text; default: `text`, else `tokens`'),
    pair_column: columnName('Column of the second text; default: `text_pair`, if the file has it'),
    label_column: columnName('Column of the label; default: `label`, else `tags`'),
    label_columns: names('Columns with 0 or 1 for each label, separated by commas, instead of one column'),
    label_names: names('Names of labels that are stored as numbers from 0, separated by commas'),
    label_separator: Type.Optional(
      Type.String({ minLength: 1, maxLength: 10, description: 'What separates the labels in a cell' }),
    ),
    problem_type: Type.Optional(
      oneOf(problemTypes, { description: 'How labels are read. Default: the labels decide' }),
    ),
    dry_run: Type.Optional(Type.Enum(['true', 'false'], { description: 'With `true`, nothing is stored' })),
  },
  { additionalProperties: false },
)

const labelCount = Type.Object({ label: Type.String(), count: Type.Integer() })
const labelled = {
  text: Type.Optional(Type.String({ description: 'Absent for words' })),
  text_pair: Type.Optional(Type.String({ description: 'The second text' })),
  tokens: Type.Optional(list(Type.String(), { description: 'Words, each with a label in `tags`' })),
  label: Type.Optional(label),
  tags: Type.Optional(tags),
  spans: Type.Optional(spans),
}

export const postedSchema = component(
  'PostedExamples',
  Type.Object({
    added: Type.Integer({ description: 'Texts that were new' }),
    replaced: Type.Integer({ description: 'Texts that had another label' }),
    unchanged: Type.Integer({ description: 'Texts that had the same label' }),
    skipped: list(Type.Object({ reason: Type.String(), count: Type.Integer(), first_place: Type.String() }), {
      description: 'Rows without a text or a label',
    }),
    total: Type.Integer({ description: 'Examples that the task has now' }),
    report: Type.Object(
      {
        format: Type.String({ description: 'Format and dialect of the file' }),
        columns: Type.Object(
          {
            text: Type.String(),
            pair: Type.Optional(Type.String()),
            label: Type.Optional(Type.String()),
            labels: Type.Optional(list(Type.String())),
          },
          { description: 'The columns in use' },
        ),
        names: list(Type.String(), { description: 'All columns of the file' }),
        rows: Type.Integer(),
        problem_type: Type.Union([oneOf(problemTypes), Type.Null()]),
        labels: list(labelCount, { description: 'The most frequent labels of the file' }),
        label_count: Type.Integer({ description: 'How many different labels the file has' }),
        warnings: list(Type.String()),
        sample: Type.Optional(
          list(Type.Object(labelled), { description: 'Of a dry run: the first examples; long texts are cut' }),
        ),
      },
      { description: 'What was found in the file' },
    ),
    dry_run: Type.Boolean({ description: 'Whether nothing was stored' }),
  }),
)

export const exampleSchema = component(
  'Example',
  Type.Object({
    id: Type.String({ description: 'The same for the same text' }),
    ...labelled,
    created: Type.String({ description: 'Time in ISO 8601' }),
    updated: Type.String({ description: 'Time in ISO 8601' }),
    by: Type.Optional(Type.String({ description: 'Who sent it: owner and id of the API key' })),
    source: Type.Enum(['upload', 'feedback']),
    predicted: Type.Optional(predicted),
  }),
)

export const exampleListQuery = Type.Object(
  {
    after: Type.Optional(Type.String({ pattern: exampleIdPattern, description: 'The `next` of the previous page' })),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1000, default: 100, description: 'Most examples of a page' }),
    ),
    label: Type.Optional(Type.String({ maxLength: maxLabelLength, description: 'Only examples with this label' })),
    search: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 200,
        description: 'Only examples whose texts contain this. Upper and lower case make no difference',
      }),
    ),
    disagrees: Type.Optional(
      Type.Enum(['true', 'false'], {
        description:
          'With `true`, only examples that the newest training held out and predicted otherwise, at most 1,000',
      }),
    ),
  },
  { additionalProperties: false },
)
export const exampleListSchema = component(
  'ExampleList',
  Type.Object({
    total: Type.Integer({ description: 'Examples of the task' }),
    labels: list(labelCount, { description: 'The labels of all examples, the most frequent first' }),
    labels_complete: Type.Boolean({ description: 'False if there are more than 1,000 labels, or very long ones' }),
    examples: list(exampleSchema, {
      description: 'A filter looks at a bounded number of examples: a page can have few of them, and a next page',
    }),
    next: nextPage,
  }),
)

export const examplePatch = component(
  'ExamplePatch',
  Type.Object(
    { label: Type.Optional(label), tags: Type.Optional(tags), spans: Type.Optional(spans) },
    { minProperties: 1, additionalProperties: false, examples: [{ label: 'complaint' }] },
  ),
)

export const feedbackRequest = component(
  'Feedback',
  Type.Object(
    {
      text: Type.Optional(text),
      text_pair: Type.Optional(text),
      tokens: Type.Optional(
        Type.Array(text, { minItems: 1, maxItems: maxLabels, description: 'Words, instead of `text`' }),
      ),
      label: Type.Optional(label),
      tags: Type.Optional(tags),
      spans: Type.Optional(spans),
      predicted: Type.Optional(predicted),
      request_id: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: 200,
          description: 'The X-Request-Id of a prediction whose text was kept, instead of the text',
        }),
      ),
      index: Type.Optional(Type.Integer({ minimum: 0, default: 0, description: 'Which text of that request' })),
    },
    {
      additionalProperties: false,
      examples: [{ text: 'Where is my refund?', label: 'refund', predicted: { label: 'delivery', score: 0.61 } }],
    },
  ),
)
