// A score with its confidence interval.

import { decimal } from '../format.js'

export const ScoreText = ({
  score,
  interval,
}: {
  readonly score: number
  /** Its least and greatest value. */
  readonly interval?: readonly number[] | undefined
}) => (
  <span class="score">
    {decimal(score)}
    {interval && <span class="soft"> ({interval.map((bound) => decimal(bound)).join(' to ')})</span>}
  </span>
)
