// Schemas of tasks: descriptions, lists and files.

import { type TSchema, Type } from 'typebox'
import { combinings, headActivationNames, inputKinds, poolings, problemTypes } from '../../petl/task.js'
import { etagsPattern } from '../etags.js'
import { list, nextPage, oneOf, orNull, pageQuery, taskId } from './common.js'
import { component } from './component.js'

export const taskParams = Type.Object({ id: taskId })

/** The query of routes that use one version of a task. */
export const versionQuery = Type.Object(
  {
    version: Type.Optional(
      Type.Integer({ minimum: 1, description: 'Number of the version to use. By default the active one.' }),
    ),
  },
  { additionalProperties: false },
)

/** Of a task that the caller uploaded or is to upload: those that come with the server cannot be changed. */
const ownTaskId = Type.String({ ...taskId, examples: ['my-task'] })
export const ownTaskParams = Type.Object({ id: ownTaskId })

export const conditionHeaders = Type.Object({
  'if-match': Type.Optional(
    Type.String({
      pattern: etagsPattern,
      description: 'Only if the task is at one of these ETags, as in "v1", "v2"; * for any version',
    }),
  ),
  'if-none-match': Type.Optional(
    Type.String({
      pattern: etagsPattern,
      description: 'Only if the task is at none of these ETags; * for: only if there is no such task',
    }),
  ),
})

const bytes = { contentMediaType: 'application/octet-stream' }
export const taskFile: TSchema = component(
  'TaskFile',
  Type.Unsafe<Buffer>({
    ...bytes,
    description: 'A task file in the safetensors format, as `propetl learn` writes it',
  }),
)
export const taskForm = component(
  'TaskForm',
  Type.Object({ id: Type.Optional(ownTaskId), file: Type.Unsafe<Buffer>(bytes) }, { additionalProperties: false }),
)

const version = Type.String({ description: 'SHA-256 of the task file' })
const origin = Type.Enum(['bundled', 'uploaded'], {
  description: 'bundled: a read-only file of the server; uploaded: over this API',
})

export const taskSchema = component(
  'Task',
  Type.Object({
    id: Type.String(),
    version,
    origin,
    problem_type: oneOf(problemTypes),
    labels: list(Type.String(), { description: 'The labels in the order of the outputs of the head' }),
    combine: Type.Optional(
      oneOf(combinings, {
        description: 'How the mask is combined with the layer masks of the prototype. Absent for a task without a mask',
      }),
    ),
    pooling: oneOf(poolings, { description: 'How the hidden states of a text become one vector' }),
    max_length: Type.Optional(
      Type.Integer({
        description: 'Tokens to which longer texts are cut, special tokens included. Absent: the maximum of the model',
      }),
    ),
    text_prefix: Type.Optional(Type.String({ description: 'The server puts it before every text' })),
    inputs: Type.Optional(
      oneOf(inputKinds, { description: 'What the task was trained on, and accepts. Absent: single texts and pairs' }),
    ),
    head: Type.Optional(
      Type.Object(
        {
          inputs: Type.Integer({ description: 'Size of the vectors that the head reads' }),
          dense: Type.Optional(Type.Integer({ description: 'Size of its hidden layer, if it has one' })),
          outputs: Type.Integer({ description: 'One for each label; 1 for a regression' }),
          weights: Type.Integer({ description: 'Number of weights and biases' }),
        },
        { description: 'Absent for feature_extraction' },
      ),
    ),
    mask: Type.Optional(
      Type.Object(
        {
          rows: Type.Integer({ description: 'Mask layers: 1 if all layers share one mask, else the number of layers' }),
          density: Type.Number({ description: 'Share of ones in the mask of the task' }),
          effective_density: list(Type.Number(), {
            description: 'For each layer: share of ones once the mask is combined with the layer mask',
          }),
          overlap_with_layer_masks: list(Type.Number(), {
            description: 'For each layer: share of the ones of the mask that the layer mask has too',
          }),
        },
        { description: 'Absent for a task without a mask, which reads the vectors of the bare backbone' },
      ),
    ),
    storage: Type.Optional(
      Type.Object(
        {
          mask_bits: Type.Integer({ description: 'Bits of the mask' }),
          plain_module_bits: Type.Integer({
            description: 'Bits of a module of the same shape that has its own weights in every layer',
          }),
          ratio: Type.Number({ description: 'mask_bits divided by plain_module_bits' }),
        },
        { description: 'Absent for a task without a mask' },
      ),
    ),
    threshold: Type.Optional(
      Type.Number({
        description:
          'multi_label_classification with one threshold for all labels: least probability of a label that applies',
      }),
    ),
    thresholds: Type.Optional(
      list(Type.Number(), {
        description:
          'Threshold of each label, if they differ. multi_label_classification: least probability at which the label applies. ' +
          'single_label_classification: the predicted label is the one whose probability is largest relative to its threshold.',
      }),
    ),
    normalize: Type.Optional(Type.Boolean({ description: 'feature_extraction: whether vectors have an L2 norm of 1' })),
    projection: Type.Optional(
      Type.Object(
        {
          inputs: Type.Integer({ description: 'Size of the pooled vector' }),
          outputs: Type.Integer({ description: 'Size of the vectors of the task' }),
          activation: oneOf(headActivationNames, { description: 'The function after the layer' }),
        },
        { description: 'feature_extraction: the layer on the pooled vector, if there is one' },
      ),
    ),
    words: Type.Optional(
      Type.Enum(['rule', 'tokenizer'], {
        description:
          'token_classification: how the words of a text are found. `rule`: as in the data that the task was trained on. ' +
          '`tokenizer`: at the boundaries of the tokenizer.',
      }),
    ),
    description: Type.Optional(Type.String()),
    metrics: Type.Optional(
      Type.Record(Type.String(), Type.Unknown(), { description: 'Results of training, as the task file states them' }),
    ),
    range: Type.Optional(list(Type.Number(), { description: 'regression: least and greatest value' })),
  }),
)

const taskSummary = component(
  'TaskSummary',
  Type.Object({
    id: Type.String(),
    version: orNull(Type.String(), 'SHA-256 of the task file; null for a draft'),
    origin: Type.Enum(['bundled', 'uploaded', 'draft'], {
      description:
        'bundled: a read-only file of the server; uploaded: over this API; draft: it has examples and no version yet',
    }),
    examples: Type.Integer({ description: 'Number of its examples' }),
  }),
)

export const taskListQuery = Type.Object(
  {
    ...pageQuery('^[a-z0-9._-]{0,64}$').properties,
    search: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 64,
        description:
          'Only tasks whose ids contain this. A page looks at a bounded number of tasks: it can have few of them, and a next page',
      }),
    ),
  },
  { additionalProperties: false },
)
export const taskListSchema = component(
  'TaskList',
  Type.Object({
    total: Type.Integer({ description: 'Number of all tasks, also of those that a search leaves out' }),
    tasks: list(taskSummary),
    next: nextPage,
  }),
)
