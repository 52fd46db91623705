// Which rows run next: pure decisions over plain data. No clock, no timer, no tensor; the caller says what time it is.
//
// Fairness is start-time fair queueing (Goyal, Vin, Cheng 1996) with tasks as flows and rows as their cost: each row
// is tagged with its turn, the turns its task had before it, and the smallest tag leads the next batch. A task that
// floods the queue runs ahead in turns and takes what the others leave.

export interface Waiting {
  /** The flow the row counts for. */
  readonly task: string
  /** Which mask the row needs; a batch holds a bounded number of different ones. */
  readonly maskKey: string
  readonly tokens: number
  /** In the caller's clock, milliseconds: a row that has not begun by then is dropped. */
  readonly deadline: number
  /** The one who asked has left. */
  readonly cancelled: boolean
}

export interface BatchLimits {
  /** Tokens of a batch; a single longer row still runs, alone. */
  readonly maxTokens: number
  /** Different masks in a batch. */
  readonly maxMasks: number
}

export interface Decision<Row> {
  readonly batch: readonly Row[]
  /** Rows that waited past their deadline, or for someone who left. */
  readonly dropped: readonly Row[]
}

/** Attention pads the rows of a batch to its longest. A row joins while at most half of those places are padding. */
const maxPlacesPerToken = 2

interface Tagged<Row> {
  readonly row: Row
  /** Virtual start time: the row's turn. */
  readonly turn: number
}

export class RowQueue<Row extends Waiting> {
  #waiting: Tagged<Row>[] = []
  /** Turn of the row that last led a batch. */
  #now = 0
  /** The next turn of each task that has had turns ahead of the others. */
  readonly #nextTurn = new Map<string, number>()

  get size(): number {
    return this.#waiting.length
  }

  add(row: Row): void {
    const turn = Math.max(this.#now, this.#nextTurn.get(row.task) ?? 0)
    this.#nextTurn.set(row.task, turn + 1)
    this.#waiting.push({ row, turn })
  }

  /** Takes the next batch: the row whose turn it is, and those nearest to it in length. */
  next(now: number, limits: BatchLimits): Decision<Row> {
    const dropped: Row[] = []
    const alive = this.#waiting.filter(({ row }) => {
      const keep = !row.cancelled && row.deadline > now
      if (!keep) dropped.push(row)
      return keep
    })
    const leader = alive.reduce<Tagged<Row> | undefined>((a, b) => (a && a.turn <= b.turn ? a : b), undefined)
    if (leader === undefined) {
      this.#waiting = []
      return { batch: [], dropped }
    }
    this.#now = leader.turn
    const taken = nearestRows(leader, alive, limits)
    this.#waiting = alive.filter((entry) => !taken.has(entry))
    for (const [task, turn] of this.#nextTurn) if (turn <= this.#now) this.#nextTurn.delete(task)
    return { batch: Array.from(taken, ({ row }) => row), dropped }
  }
}

function nearestRows<Row extends Waiting>(
  leader: Tagged<Row>,
  candidates: readonly Tagged<Row>[],
  limits: BatchLimits,
): Set<Tagged<Row>> {
  const distance = ({ row }: Tagged<Row>) => Math.abs(row.tokens - leader.row.tokens)
  const byDistance = candidates.toSorted((a, b) => distance(a) - distance(b) || a.turn - b.turn)
  const taken = new Set([leader])
  const masks = new Set([leader.row.maskKey])
  let { tokens } = leader.row
  let longest = tokens
  for (const entry of byDistance) {
    const { row } = entry
    const places = (taken.size + 1) * Math.max(longest, row.tokens)
    if (taken.has(entry) || tokens + row.tokens > limits.maxTokens) continue
    if (places > maxPlacesPerToken * (tokens + row.tokens)) continue
    if (!masks.has(row.maskKey) && masks.size === limits.maxMasks) continue
    taken.add(entry)
    masks.add(row.maskKey)
    tokens += row.tokens
    longest = Math.max(longest, row.tokens)
  }
  return taken
}
