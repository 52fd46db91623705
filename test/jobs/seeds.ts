/** What the tiny learner does, by the seed of a job. `hang` ends when its folder has a file `go`. */
export const seeds = { learn: 1, hang: 2, crash: 3, headOnly: 4, fail: 5, hangBeforeHead: 6 } as const
