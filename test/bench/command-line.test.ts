// The command line of the benchmarks.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { catalogue } from '../../bench/catalogue.js'
import { parseCommandLine } from '../../bench/command-line.js'
import { readReport } from '../../bench/report.js'

const main = fileURLToPath(new URL('../../bench/main.js', import.meta.url))

interface Exit {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** @param onStderr called with all of stderr so far whenever the process writes to it */
async function bench(
  args: readonly string[],
  onStderr: (text: string, interrupt: () => void) => void = () => {},
): Promise<Exit> {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (piece) => {
    stdout += piece
  })
  child.stderr.on('data', (piece) => {
    stderr += piece
    onStderr(stderr, () => child.kill('SIGINT'))
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

test('benchmark names are unique', () => {
  assert.equal(new Set(catalogue.map(({ name }) => name)).size, catalogue.length)
})

test('without names, the default benchmarks run', () => {
  const { planned, command } = parseCommandLine([])
  assert.deepEqual(
    planned.map(({ benchmark }) => benchmark),
    catalogue.filter(({ isDefault }) => isDefault).map(({ name }) => name),
  )
  assert.equal(command, 'npm run bench')
})

test('the command that repeats a benchmark has its own options, and no path of this machine', () => {
  const { planned, command, json } = parseCommandLine([
    'soak',
    'peft',
    'queue',
    '--minutes',
    '5',
    '--keys',
    '--tasks',
    '1,16',
    '--python',
    '/x/python',
    '--json',
    '/x/y',
  ])
  assert.deepEqual(
    planned.map((each) => each.command),
    [
      'npm run bench -- soak --minutes 5 --keys',
      'npm run bench -- peft --python <path> --tasks 1,16',
      'npm run bench -- queue',
    ],
  )
  assert.equal(command, 'npm run bench -- soak peft queue --minutes 5 --keys --python <path> --tasks 1,16')
  assert.equal(json, '/x/y')
})

test('--list names every benchmark with its duration', async () => {
  const { code, stdout } = await bench(['--list'])
  assert.equal(code, 0)
  for (const { name, duration, measures } of catalogue)
    assert.ok(
      stdout
        .split('\n')
        .some((line) => line.includes(` ${name} `) && line.includes(duration) && line.includes(measures)),
      name,
    )
})

describe('usage errors exit with code 2 and say what is wrong', { concurrency: true }, () => {
  const mistakes: readonly (readonly [args: string, message: RegExp])[] = [
    ['nosuch', /there is no benchmark "nosuch"\. Known names: mixed-batch,/],
    ['--bogus', /unknown option '--bogus'/],
    ['queue --minutes 5', /--minutes has no effect here: it is an option of soak\./],
    ['versions', /versions requires --against <dir>\./],
    ['attacks --attacks wide-heads,x', /"x" is unknown\. Known names: wide-heads,/],
    ['soak --minutes -1', /Expected a number above 0\./],
  ]
  for (const [args, message] of mistakes)
    test(args, async () => {
      const { code, stderr } = await bench(args.split(' '))
      assert.equal(code, 2)
      assert.match(stderr, message)
    })
})

test('an interrupted run exits with code 130 and writes its report', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'propetl-report-'))
  try {
    const path = join(directory, 'report.json')
    let isInterrupted = false
    const { code, stderr } = await bench(['queue', 'start', '--json', path], (text, interrupt) => {
      if (isInterrupted || !text.includes('queue: round 1')) return
      isInterrupted = true
      interrupt()
    })
    assert.equal(code, 130)
    assert.match(stderr, /interrupted after 0 of 2 benchmarks/)
    const { results, command } = readReport(path)
    assert.deepEqual(results, [])
    assert.equal(command, 'npm run bench -- queue start')
  } finally {
    rmSync(directory, { recursive: true })
  }
})
