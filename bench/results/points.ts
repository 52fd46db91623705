// Differences of scores in points of 0.01.

/** With its sign, and one decimal place: `+1.5`. */
export const signed = (points: number): string => `${points < 0 ? '−' : '+'}${Math.abs(points).toFixed(1)}`
