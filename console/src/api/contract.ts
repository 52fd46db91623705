// What the API returns about examples, jobs and versions.

export type Label = string | number | readonly string[]

export interface LabelCount {
  readonly label: string
  readonly count: number
}

export interface Guess {
  readonly label: Label
  readonly score?: number
  readonly version?: string
}

export interface Span {
  readonly start: number
  readonly end: number
  readonly label: string
}

export interface Example {
  readonly id: string
  readonly text?: string
  readonly text_pair?: string
  readonly tokens?: readonly string[]
  readonly tags?: readonly string[]
  readonly spans?: readonly Span[]
  readonly label?: Label
  readonly created: string
  readonly updated: string
  readonly source: 'upload' | 'feedback'
  readonly predicted?: Guess
}

export interface ExamplePage {
  readonly total: number
  readonly labels: readonly LabelCount[]
  readonly labels_complete: boolean
  readonly examples: readonly Example[]
  readonly next: string | null
}

export interface DataReport {
  readonly format: string
  readonly columns: { readonly text?: string; readonly pair?: string; readonly label?: string }
  readonly names: readonly string[]
  readonly rows: number
  /** null if the rows do not decide it. */
  readonly problem_type: string | null
  readonly labels: readonly LabelCount[]
  readonly label_count: number
  readonly warnings: readonly string[]
  readonly sample: readonly Pick<Example, 'text' | 'text_pair' | 'tokens' | 'tags' | 'spans' | 'label'>[]
}

export interface PostedExamples {
  readonly added: number
  readonly replaced: number
  readonly unchanged: number
  readonly skipped: readonly { readonly reason: string; readonly count: number; readonly first_place: string }[]
  readonly total: number
  readonly report: DataReport
  readonly dry_run: boolean
}

export interface Suggestions {
  readonly texts: readonly {
    readonly text: string
    readonly text_pair?: string
    readonly predicted: Guess
    readonly request_id: string
    readonly index: number
    readonly seen?: string
  }[]
}

export interface TaskSettings {
  readonly keep_texts: { readonly days: number } | null
}

export type JobState = 'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled'
export const phases = ['reading', 'head', 'comparing', 'training', 'evaluating'] as const
export type Phase = (typeof phases)[number]

export interface LossPoint {
  readonly step: number
  readonly loss: number
}
export interface EpochScore {
  readonly epoch: number
  readonly held_out_loss: number
}

export interface Job {
  readonly id: string
  readonly task: string
  readonly state: JobState
  readonly phase?: Phase
  readonly progress?: number
  readonly seconds_left?: number
  readonly created: string
  readonly started?: string
  readonly finished?: string
  readonly by?: string
  readonly attempt?: number
  readonly activate?: 'if_better' | 'always' | 'never'
  readonly examples?: number
  /** Of how many examples those are a sample. */
  readonly subsampled_of?: number
  readonly head?: { readonly version: number; readonly score: number }
  readonly metric?: string
  readonly score?: number
  readonly interval?: readonly [number, number]
  readonly scores?: readonly Score[]
  readonly version?: number
  readonly activated?: boolean
  readonly reason?: string
  readonly error?: { readonly code: string; readonly message: string }
  readonly curve?: readonly LossPoint[]
  readonly epochs?: readonly EpochScore[]
  readonly warnings?: readonly string[]
}

export interface JobList {
  readonly jobs: readonly Job[]
  readonly next: string | null
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
  readonly head_only?: boolean
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

export interface Version {
  readonly version: number
  readonly digest: string
  readonly bytes: number
  readonly created: string | null
  readonly by: string | null
  readonly source: {
    readonly kind: 'upload' | 'job' | 'bundled'
    readonly job?: string
    readonly stage?: 'head' | 'final'
  }
  readonly problem_type?: string
  readonly metric?: string
  readonly score?: number
  readonly interval?: readonly [number, number]
  readonly examples?: number
  readonly state: 'active' | 'candidate' | 'kept'
}

export interface Candidate {
  readonly version: number
  readonly share?: number
  readonly shadow?: true
  readonly since: string
  readonly compared: number
  readonly differ: number
}

export interface VersionPage {
  /** null while no version is live. */
  readonly active: number | null
  readonly candidate: Candidate | null
  readonly versions: readonly Version[]
  readonly next: string | null
}
