// Schemas of prediction requests and responses.

import { type TSchema, Type } from 'typebox'
import type { ProblemType } from '../../petl/task.js'
import { list, taskId } from './common.js'
import { component, documentedAs } from './component.js'

export const predictParams = Type.Object({ id: taskId })

/** A string: the validator would cut the fraction off an integer. */
export const timeoutPattern = '^[1-9][0-9]{0,8}$'

export const timeoutHeaders = Type.Object({
  'x-request-timeout-ms': Type.Optional(
    Type.String({
      pattern: timeoutPattern,
      examples: ['5000'],
      description:
        'Timeout in milliseconds, if it is shorter than that of the server. A request that would miss this deadline is ' +
        'rejected at once (429), or dropped later (504).',
    }),
  ),
})

const textFields = {
  text: Type.String({ description: 'The text' }),
  text_pair: Type.Optional(Type.String({ description: 'Second text, for tasks that compare two texts' })),
}

const options = {
  top_k: Type.Optional(
    Type.Integer({
      minimum: 1,
      description: 'Return only this many labels, best first. By default all labels, in the order of the task.',
    }),
  ),
  raw_scores: Type.Optional(
    Type.Boolean({ default: false, description: 'Return the logits of the head instead of probabilities' }),
  ),
  threshold: Type.Optional(
    Type.Number({
      exclusiveMinimum: 0,
      exclusiveMaximum: 1,
      description:
        'Least probability of a label to be listed in `labels`, instead of the thresholds of the task. Only for requests ' +
        'to at least one multi-label task.',
    }),
  ),
  truncate: Type.Optional(
    Type.Boolean({
      default: true,
      description:
        'Cut texts that are longer than the task reads; `truncated` marks their predictions. With false they are rejected.',
    }),
  ),
}

const textInput = component(
  'TextInput',
  Type.Union([Type.String(), Type.Object(textFields, { additionalProperties: false })], {
    description: 'A text, or an object with a text and optionally a second one',
  }),
)

export const predictRequest = component(
  'PredictRequest',
  Type.Object(
    {
      inputs: Type.Union([textInput, Type.Array(textInput, { minItems: 1 })], { description: 'One input, or several' }),
      ...options,
    },
    { additionalProperties: false, examples: [{ inputs: ['a gorgeous film', 'two hours of nothing'], top_k: 1 }] },
  ),
)

const version = Type.Optional(
  Type.Integer({ minimum: 1, description: 'Number of the version of the task to use. By default the server chooses.' }),
)

const taskTextInput = component(
  'TaskTextInput',
  Type.Object(
    { task: taskId, version, ...textFields },
    { additionalProperties: false, description: 'A text and its task' },
  ),
)

export const predictManyRequest = component(
  'PredictManyRequest',
  Type.Object(
    { inputs: Type.Array(taskTextInput, { minItems: 1 }), ...options },
    {
      additionalProperties: false,
      examples: [
        {
          inputs: [
            { task: 'sst2', text: 'a gorgeous film' },
            { task: 'mrpc', text: 'It rained.', text_pair: 'Rain fell.' },
          ],
        },
      ],
    },
  ),
)

const score = Type.Number({ description: 'Probability of the label, or its logit with `raw_scores`' })
const labelScore = component('LabelScore', Type.Object({ label: Type.String(), score }))
const classification = {
  label: Type.String({ description: 'The label with the highest score' }),
  score,
  scores: list(labelScore, { description: 'In the order of the labels of the task, or best first with `top_k`' }),
}
const labels = list(Type.String(), { description: 'The labels whose probability reaches their threshold, best first' })
const span = {
  text: Type.String({ description: 'This part of the text' }),
  start: Type.Integer({ description: 'First UTF-16 offset in the text' }),
  end: Type.Integer({ description: 'Last UTF-16 offset in the text, exclusive' }),
}
const word = component('LabelledWord', Type.Object({ ...classification, ...span }))
const words = list(word, { description: 'The words of the text as the task finds them, each with its label' })
const entity = component(
  'Entity',
  Type.Object({
    label: Type.String({ description: 'Type of the entity: X for words with the labels B-X and I-X' }),
    score: Type.Number({ description: 'Mean score of its words' }),
    ...span,
  }),
)
const entities = list(entity, {
  description: 'Words joined into entities. Only if the labels of the task mark entities: B-X, I-X and O (IOB2).',
})
const value = Type.Number({ description: 'The predicted value' })
const embedding = list(Type.Number(), { description: 'The pooled vector of the text' })

const truncated = Type.Boolean({
  description: 'true: the text is longer than the task reads, and its end was cut. Absent for other texts.',
})

const kindOfPrediction = (name: string, description: string, fields: Parameters<typeof Type.Object>[0]) =>
  component(name, Type.Object({ ...fields, truncated: Type.Optional(truncated) }, { description }))

const predictionOf: Readonly<Record<ProblemType, TSchema>> = {
  single_label_classification: kindOfPrediction(
    'SingleLabelPrediction',
    'Of a single_label_classification',
    classification,
  ),
  multi_label_classification: kindOfPrediction('MultiLabelPrediction', 'Of a multi_label_classification', {
    ...classification,
    labels,
  }),
  regression: kindOfPrediction('RegressionPrediction', 'Of a regression', { score: value }),
  token_classification: kindOfPrediction('TokenPrediction', 'Of a token_classification', {
    words,
    entities: Type.Optional(entities),
  }),
  feature_extraction: kindOfPrediction('EmbeddingPrediction', 'Of a feature_extraction', { embedding }),
}

const anyPrediction = component(
  'Prediction',
  Type.Union(Object.values(predictionOf), {
    description: 'What a task returns for one input. The problem type of the task decides which kind it is.',
  }),
)

/** The fields of all kinds of predictions. One object is serialised much faster than a choice of five. */
const predictionFields = {
  label: Type.Optional(Type.String()),
  score: Type.Optional(Type.Number()),
  scores: Type.Optional(classification.scores),
  labels: Type.Optional(labels),
  words: Type.Optional(words),
  entities: Type.Optional(entities),
  embedding: Type.Optional(embedding),
  truncated: Type.Optional(truncated),
}
const prediction = documentedAs(anyPrediction, Type.Object(predictionFields))

const taskAndVersion = {
  task: Type.String({ description: 'Id of the task' }),
  version: Type.String({ description: 'SHA-256 of the task file that made the prediction' }),
}

export const predictResponse = component(
  'PredictResponse',
  Type.Object({ ...taskAndVersion, predictions: list(prediction, { description: 'In the order of the inputs' }) }),
)

const taskPrediction = documentedAs(
  component(
    'TaskPrediction',
    Type.Intersect([Type.Object(taskAndVersion), anyPrediction], {
      description: 'A prediction, and the task it is of',
    }),
  ),
  Type.Object({ ...taskAndVersion, ...predictionFields }),
)

export const predictManyResponse = component(
  'PredictManyResponse',
  Type.Object({ predictions: list(taskPrediction, { description: 'In the order of the inputs' }) }),
)
