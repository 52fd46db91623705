// The keys of tasks in the store, and the ranges of keys that belong to an owner or a task.

import type { Owner } from '../owner.js'
import { type RecordRange, recordsIn } from '../store/store.js'
import { operator } from '../tenants/tenant.js'

/** Keys of the operator's tasks are bare ids. They sort before all others, because "~" sorts after every character of an id. */
export const taskKey = (owner: Owner, id: string): string => (owner === operator ? id : `~${owner}/${id}`)

/** The tasks of an owner with ids after `after`, in a table with one record for each task. */
export const tasksOf = (owner: Owner, after = ''): RecordRange =>
  owner === operator ? { after, before: '~' } : recordsIn(`~${owner}`, after)

/** In the table `jobs`: the examples of a task that its newest version predicts otherwise than they are labelled. */
export const disagreementsKey = (owner: Owner, id: string): string => `${owner}/~wrong/${id}`

/** The owner of the task with a key. */
export const ownerOfKey = (key: string): Owner => (key.startsWith('~') ? key.slice(1, key.indexOf('/')) : operator)
