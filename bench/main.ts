// `npm run bench`: runs benchmarks, prints their figures, and writes a report.

import { writeFileSync } from 'node:fs'
import { parseCommandLine } from './command-line.js'
import { describeMachine, describeVersion, type Report, type Result, reportFormat, serializeReport } from './report.js'
import { exitCodeOf, runBenchmarks } from './run.js'
import { tableHead, tableRow } from './table.js'

const { planned, json, command } = parseCommandLine(process.argv.slice(2))
const log = (progress: string) => process.stderr.write(`${progress}\n`)
const results: Result[] = []
const report: Report = {
  format: reportFormat,
  machine: describeMachine(planned.some(({ group }) => group === 'GPU')),
  version: describeVersion(),
  date: new Date().toISOString(),
  command,
  results,
}

/** Writes what has been measured so far. */
function writeReport(): void {
  if (json === '-') console.log(serializeReport(report))
  else if (json !== undefined) writeFileSync(json, serializeReport(report))
}

function interrupt(exitCode: number): void {
  log(`interrupted after ${results.length} of ${planned.length} benchmarks`)
  writeReport()
  process.exit(exitCode)
}
process.once('SIGINT', () => interrupt(130))
process.once('SIGTERM', () => interrupt(143))

const { cpu, cores, memoryGiB, gpu, node } = report.machine
const isTable = json !== '-'
if (isTable) {
  const machine = [cpu, `${cores} cores`, `${memoryGiB} GiB`, ...(gpu ? [gpu] : []), `Node.js ${node}`].join(', ')
  console.log(`${machine}; version ${report.version}\n\n${tableHead}`)
}
await runBenchmarks(planned, log, (result) => {
  results.push(result)
  if (isTable) for (const figure of result.figures) console.log(tableRow(figure))
  if (json !== undefined && json !== '-') writeReport()
})
if (json === '-') writeReport()
process.exitCode = exitCodeOf(results)
