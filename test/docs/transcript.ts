// Console blocks of a Markdown page: their commands, and the output that the page shows for each.

export interface Step {
  /** Line of the page that the command is on, from 1. */
  readonly line: number
  readonly command: string
  /** What the page shows below the command; nothing shown is not compared. */
  readonly output: string
}

/**
 * Commands of all blocks fenced as `console` or `sh`, in the order of the page. In `console` blocks a command begins
 * with `$ ` and what follows is its output; in `sh` blocks each line is a command. A command goes on while it ends with
 * a backslash or a quote is open.
 */
export function stepsOf(page: string): Step[] {
  const steps: Step[] = []
  let fence: 'console' | 'sh' | undefined
  let open: { line: number; command: string; output: string[] } | undefined
  const finish = () => {
    if (open) steps.push({ line: open.line, command: open.command, output: open.output.join('\n') })
    open = undefined
  }
  for (const [at, text] of page.split('\n').entries()) {
    const opening = /^```(console|sh)$/.exec(text)?.[1]
    if (fence === undefined) {
      if (opening === 'console' || opening === 'sh') fence = opening
      continue
    }
    if (text === '```') {
      finish()
      fence = undefined
    } else if (open && isUnfinished(open.command)) open.command += `\n${text}`
    else if (fence === 'sh' || text.startsWith('$ ')) {
      finish()
      open = { line: at + 1, command: fence === 'sh' ? text : text.slice(2), output: [] }
    } else open?.output.push(text)
  }
  return steps
}

const isUnfinished = (command: string): boolean =>
  command.endsWith('\\') || (command.match(/'/g)?.length ?? 0) % 2 === 1

/** Training on another machine ends with somewhat different scores. */
const tolerance = 0.15

/**
 * Whether a command printed what a page shows. White space does not count, so that pages may wrap long lines; `…` stands
 * for anything; numbers with a fraction may differ a little.
 */
export function matches(shown: string, printed: string): boolean {
  const compact = (text: string) => text.replaceAll(/\s+/g, '')
  const fraction = /(-?\d+\.\d+(?:e-?\d+)?)/
  const expected: number[] = []
  const pattern = compact(shown)
    .split(fraction)
    .map((part, at) => {
      if (at % 2 === 0) return part.split('…').map(escaped).join('.*?')
      expected.push(Number(part))
      return String.raw`(-?\d+(?:\.\d+)?(?:e-?\d+)?)`
    })
    .join('')
  const found = new RegExp(`^${pattern}$`, 's').exec(compact(printed))
  return found !== null && expected.every((number, at) => Math.abs(number - Number(found[at + 1])) <= tolerance)
}

const escaped = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)
