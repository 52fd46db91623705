// `npm run bench -- faults`: causes each fault on its own servers.

import { type Benchmark, type Figure, isMet, once } from '../support/figures.js'
import { type Fault, type Finding, none } from './fault.js'
import { allFaults } from './table.js'
import { missingNeeds, Testbed } from './testbed.js'

export interface FaultsOptions {
  /** Names of faults; all faults unless given. */
  readonly only?: readonly string[]
}

export const faultNames: readonly string[] = allFaults.map(({ name }) => name)

export const faults =
  ({ only }: FaultsOptions): Benchmark =>
  async (log) => {
    const chosen = allFaults.filter(({ name }) => only === undefined || only.includes(name))
    const figures: Figure[] = []
    for (const [number, fault] of chosen.entries()) {
      const progress = `faults: ${number + 1} of ${chosen.length}: ${fault.name}`
      const missing = missingNeed(fault)
      if (missing !== undefined) {
        log(`${progress}: skipped: ${missing}`)
        continue
      }
      const start = performance.now()
      const findings = await findingsOf(fault, (part) => log(`${progress}: ${part}`))
      const seconds = ((performance.now() - start) / 1000).toFixed(0)
      log(`${progress} (${seconds} s): ${findings.map(lineOf).join('; ')}`)
      figures.push(...findings.map((finding, index) => figureOf(fault, finding, index)))
    }
    return figures
  }

/** @returns why the fault cannot be caused on this machine, or undefined if it can */
export function missingNeed({ needs = [] }: Fault): string | undefined {
  const missing = needs.map((need) => missingNeeds[need]).find((reason) => reason !== false)
  return missing || undefined
}

/** Causes a fault. A run that fails is a finding too. */
export async function findingsOf(fault: Fault, log?: (progress: string) => void): Promise<readonly Finding[]> {
  const testbed = await Testbed.open(log)
  try {
    return await fault.run(testbed)
  } catch (error) {
    return [none('runs that failed', [(error as Error).message])]
  } finally {
    await testbed.close()
  }
}

export const isFindingMet = (finding: Finding): boolean => isMet(finding) === true

const lineOf = (finding: Finding): string => {
  const { name, unit, value, notes = {} } = finding
  const details = Object.entries(notes).map(([key, note]) => `${key} ${note}`)
  const shown = Number.isInteger(value) ? String(value) : value.toPrecision(3)
  return `${isFindingMet(finding) ? 'met' : 'MISSED'}: ${name}: ${shown} ${unit}${details.length > 0 ? ` (${details.join('; ')})` : ''}`
}

/** The first figure of a fault states its cause and what is expected. */
const figureOf = (fault: Fault, { name, notes, ...finding }: Finding, index: number): Figure => ({
  ...finding,
  ...once(finding.value),
  name: `Fault ${fault.name}: ${name}`,
  notes: { ...(index === 0 && { cause: fault.cause, expected: fault.expected }), ...notes },
})
