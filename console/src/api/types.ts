// Names for the types of the OpenAPI document, and those that it leaves open: the report of a version, and events of jobs.

import type { components } from './openapi.js'

type Schemas = components['schemas']

export type Task = Schemas['Task']
export type TaskList = Schemas['TaskList']
export type TaskSummary = Schemas['TaskSummary']
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

export type Example = Schemas['Example']
export type ExamplePage = Schemas['ExampleList']
export type Label = NonNullable<Example['label']>
export type LabelCount = ExamplePage['labels'][number]
export type PostedExamples = Schemas['PostedExamples']
export type DataReport = PostedExamples['report']
export type Job = Schemas['JobSummary'] & Partial<Schemas['Job']>
export type JobList = Schemas['JobList']
export type Version = Schemas['Version']
export type Candidate = Schemas['Candidate']
export type VersionPage = Schemas['VersionList']

export type Suggestion = Schemas['Suggestion']
export type Suggestions = Schemas['Suggestions']
export type TaskSettings = Schemas['TaskSettings']

/** In the order in which a job has them. */
export const phases = ['reading', 'head', 'comparing', 'training', 'evaluating'] as const

export interface LossPoint {
  readonly step: number
  readonly loss: number
}
export interface EpochScore {
  readonly epoch: number
  readonly held_out_loss: number
}

/** An `event: progress` of a job. */
export interface JobProgress {
  readonly step?: number
  readonly loss?: number
  readonly held_out_loss?: number
  readonly epoch?: number
}

export interface Score {
  readonly metric: string
  readonly value: number
  readonly low?: number
  readonly high?: number
}

export interface LearnReport {
  readonly problem_type: string
  readonly metric: string
  readonly examples: number
  readonly held_out: number
  readonly folds: number
  readonly scores?: readonly Score[]
  readonly calibration_error?: number
  /** The score of a head alone, by the metric. */
  readonly head_only?: number
  readonly labels?: readonly {
    readonly label: string
    readonly precision: number
    readonly recall: number
    readonly f1: number
    readonly support: number
  }[]
  readonly confusions: readonly { readonly expected: string; readonly predicted: string; readonly count: number }[]
  readonly matrix?: { readonly labels: readonly string[]; readonly counts: readonly (readonly number[])[] }
  readonly reliability?: readonly {
    readonly low: number
    readonly high: number
    readonly confidence: number
    readonly accuracy: number
    readonly count: number
  }[]
  readonly curve: readonly LossPoint[]
  readonly epochs: readonly EpochScore[]
  readonly warnings: readonly string[]
  readonly seconds: number
}
