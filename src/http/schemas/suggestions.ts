// Schemas of the settings of a task, and of texts that are worth labelling.

import { Type } from 'typebox'
import { list, orNull } from './common.js'
import { component } from './component.js'

/** Most days that texts are kept. */
const maxDays = 90

const keepTexts = orNull(
  Type.Object(
    {
      days: Type.Integer({
        minimum: 1,
        maximum: maxDays,
        description: 'A text is deleted this long after it was last seen',
      }),
    },
    { additionalProperties: false },
  ),
  'Whether texts of requests are kept, so that GET /tasks/{id}/suggestions can list those that are worth labelling. null: no ' +
    'texts are kept, and those that were are deleted',
)

export const taskSettingsRequest = component(
  'TaskSettingsRequest',
  Type.Object({ keep_texts: keepTexts }, { additionalProperties: false, examples: [{ keep_texts: { days: 7 } }] }),
)

export const taskSettingsSchema = component(
  'TaskSettings',
  Type.Object({
    keep_texts: keepTexts,
    kept: Type.Object(
      { texts: Type.Integer({ description: 'Number of texts' }), bytes: Type.Integer({ description: 'Their bytes' }) },
      { description: 'What is kept of this task. The bytes count in the quota' },
    ),
  }),
)

export const suggestionsQuery = Type.Object(
  {
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100, default: 20, description: 'Most texts' })),
  },
  { additionalProperties: false },
)

const label = Type.Union([Type.String(), list(Type.String())], {
  description:
    'single_label_classification: the label. multi_label_classification: the labels that apply. token_classification: the ' +
    'label of each word',
})

const suggestion = component(
  'Suggestion',
  Type.Object({
    text: Type.String(),
    text_pair: Type.Optional(Type.String()),
    tokens: Type.Optional(list(Type.String(), { description: 'token_classification: the words' })),
    predicted: Type.Object({
      label,
      score: Type.Number({
        description: 'Probability of the label; with several labels or words, that of the least sure one',
      }),
      version: Type.String({ description: 'SHA-256 of the task file that made the prediction' }),
    }),
    request_id: Type.String({ description: 'X-Request-Id of the last request with the text' }),
    index: Type.Integer({ description: 'Place of the text among the inputs of that request' }),
    seen: Type.Integer({ description: 'How often the text was seen, at least' }),
  }),
)

export const suggestionsSchema = component('Suggestions', Type.Object({ texts: list(suggestion) }))
