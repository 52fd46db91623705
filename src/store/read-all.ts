// A program that reads all of an lmdb file and prints what it found as JSON. A damaged file makes it fail or crash,
// which is why it runs in a process of its own.

import { open } from 'lmdb'
import { Tally } from './digest.js'
import { type FileContents, stateTable, storeTableName } from './mirror-file.js'

const [path = ''] = process.argv.slice(2)
const root = open({ path, readOnly: true, maxDbs: 64 })
const names = Array.from(root.getKeys(), String)
const tables = names.map((name) => ({ name, records: root.openDB<Buffer, string>({ name, encoding: 'binary' }) }))
// One transaction for all tables, because another process may be writing. Tables cannot be opened within it.
const transaction = root.useReadTransaction()
const found: FileContents = { state: undefined, contents: {} }
for (const { name, records } of tables) {
  const tally = new Tally()
  for (const { key, value } of records.getRange({ transaction })) {
    tally.add(storeTableName(name), String(key), value)
    if (name === stateTable && key === 'current') found.state = value.toString()
  }
  found.contents[name] = tally.contents
}
transaction.done()
console.log(JSON.stringify(found))
