// A score with its confidence interval.

import { decimal } from '../format.js'

export const ScoreText = ({
  score,
  interval,
}: {
  readonly score: number
  readonly interval?: readonly [number, number] | undefined
}) => (
  <span class="score">
    {decimal(score)}
    {interval && (
      <span class="soft">
        {' '}
        ({decimal(interval[0])} to {decimal(interval[1])})
      </span>
    )}
  </span>
)
