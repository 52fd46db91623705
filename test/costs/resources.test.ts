import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { boundsTable, exceeds, limitsTable, resources } from '../../src/costs/resources.js'
import { problems } from '../../src/http/problems.js'
import { root } from '../material.js'

describe('the table of resources', () => {
  test('is the same in SECURITY.md and docs/limits.md as in the source', () => {
    assert.ok(readFileSync(join(root, 'SECURITY.md'), 'utf8').includes(boundsTable()))
    assert.ok(readFileSync(join(root, 'docs/limits.md'), 'utf8').includes(limitsTable()))
  })

  test('has a limit for every resource, and errors that the API documents', () => {
    for (const { what, perRequest, inProgress, charged, codes } of Object.values(resources)) {
      assert.ok(
        [perRequest, inProgress, charged].some((limit) => limit !== ''),
        what,
      )
      for (const code of codes) {
        assert.ok(Object.hasOwn(problems, code), code)
        const { status } = problems[code as keyof typeof problems]
        assert.ok((status >= 400 && status < 500) || code === 'deadline_exceeded', code)
      }
    }
  })

  test('makes errors that say what was requested, what is allowed, and what to do', () => {
    const problem = exceeds('taskBytes', 2_000, 1_000, 'the tasks')
    assert.deepEqual(
      [problem.code, problem.details],
      ['request_too_costly', { resource: 'taskBytes', asked: 2_000, limit: 1_000 }],
    )
    assert.equal(
      problem.message,
      'the tasks would take 2000 bytes; at most 1000 are allowed (--max-task-bytes). To stay below, name fewer tasks in one request',
    )
  })
})
