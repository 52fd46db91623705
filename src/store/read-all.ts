// A process that reads all of an lmdb file, and dies of it where that is damaged.

import { open } from 'lmdb'

const [path = ''] = process.argv.slice(2)
const root = open({ path, readOnly: true, maxDbs: 32 })
for (const name of root.getKeys()) {
  const records = root.openDB({ name: String(name), encoding: 'binary' })
  for (const { value } of records.getRange()) (value as Buffer).byteLength
}
