// `npm run bench -- faults`: every fault of the table, each on servers of its own.

import type { Benchmark, Figure } from '../support/figures.js'
import { type Fault, type Finding, none } from './fault.js'
import { lacks, Stage } from './stage.js'
import { allFaults } from './table.js'

export interface FaultsOptions {
  /** Names of faults; all of them unless given. */
  readonly only?: readonly string[]
}

export const faultNames: readonly string[] = allFaults.map(({ name }) => name)

export const faults =
  ({ only }: FaultsOptions): Benchmark =>
  async (say) => {
    const chosen = allFaults.filter(({ name }) => only === undefined || only.includes(name))
    const figures: Figure[] = []
    for (const [index, fault] of chosen.entries()) {
      const progress = `faults: ${index + 1} of ${chosen.length}: ${fault.name}`
      const lack = lackOf(fault)
      if (lack !== undefined) {
        say(`${progress}: not caused, ${lack}`)
        continue
      }
      const start = performance.now()
      const findings = await findingsOf(fault, (part) => say(`${progress}: ${part}`))
      const seconds = ((performance.now() - start) / 1000).toFixed(0)
      say(`${progress} (${seconds} s): ${findings.map(lineOf).join('; ')}`)
      figures.push(...findings.map((finding) => figureOf(fault, finding)))
    }
    return figures
  }

/** Why a fault cannot be caused on this machine. */
export function lackOf({ needs = [] }: Fault): string | undefined {
  const lack = needs.map((need) => lacks[need]).find((reason) => reason !== false)
  return lack || undefined
}

/** Causes a fault. A run that cannot be finished is a finding too. */
export async function findingsOf(fault: Fault, say?: (progress: string) => void): Promise<readonly Finding[]> {
  const stage = await Stage.open(say)
  try {
    return await fault.run(stage)
  } catch (error) {
    return [none('the run was not finished', [(error as Error).message])]
  } finally {
    await stage.close()
  }
}

export const isFoundMet = ({ value, target }: Finding): boolean =>
  'atMost' in target ? value <= target.atMost : value >= target.atLeast

const lineOf = (finding: Finding): string => {
  const { what, unit, value, notes = {} } = finding
  const beside = Object.entries(notes).map(([name, note]) => `${name} ${note}`)
  const shown = Number.isInteger(value) ? String(value) : value.toPrecision(3)
  return `${isFoundMet(finding) ? 'met' : 'MISSED'}: ${what} ${shown} ${unit}${beside.length > 0 ? ` (${beside.join('; ')})` : ''}`
}

const figureOf = ({ name, does }: Fault, { what, ...finding }: Finding): Figure => ({
  ...finding,
  what: `fault ${name} (${does}): ${what}`,
  spread: [finding.value, finding.value],
  repeats: 1,
})
