// Names for the types of the OpenAPI document.

import type { components } from './openapi.js'

type Schemas = components['schemas']

export type Task = Schemas['Task']
export type TaskList = Schemas['TaskList']
/** Drafts, which have examples and no version yet, have `version: null`. */
export type TaskSummary = Omit<TaskList['tasks'][number], 'version' | 'origin'> & {
  readonly version: string | null
  readonly origin: 'bundled' | 'uploaded' | 'draft'
  readonly examples?: number
}
export type Prediction = Partial<
  Schemas['SingleLabelPrediction'] &
    Schemas['MultiLabelPrediction'] &
    Schemas['RegressionPrediction'] &
    Schemas['TokenPrediction'] &
    Schemas['EmbeddingPrediction']
>
export type PredictResponse = Schemas['PredictResponse']
export type LabelScore = Schemas['LabelScore']
export type HealthReport = Schemas['HealthReport']
export type Tenant = Schemas['Tenant']
export type TenantList = Schemas['TenantList']
export type TenantSettings = Schemas['TenantSettings']
export type ApiKey = Schemas['ApiKey']
export type ApiKeyList = Schemas['ApiKeyList']
export type CreatedApiKey = Schemas['CreatedApiKey']

export type {
  Candidate,
  DataReport,
  EpochScore,
  Example,
  ExamplePage,
  Guess,
  Job,
  JobList,
  JobProgress,
  JobState,
  Label,
  LabelCount,
  LearnReport,
  LossPoint,
  Phase,
  PostedExamples,
  Score,
  Suggestions,
  TaskSettings,
  Version,
  VersionPage,
} from './contract.js'
export { phases } from './contract.js'
