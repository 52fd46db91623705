// Mistakes that newcomers make on the command line. Each error names the cause and the remedy.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, readdir, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { operatorKey, startRunning } from '../http/running.js'
import { masksDir, modelDir, temporaryDirectory } from '../material.js'
import { cli } from '../server-process.js'

const folder = await temporaryDirectory()
const write = (name: string, content: string | Buffer) => writeFile(join(folder, name), content)
await write('reviews.csv', 'text,label\ngood,yes\nbad,no\nfine,yes\npoor,no\n')
const reviews = ['good', 'fine', 'bad', 'poor'].flatMap((word, i) =>
  [1, 2, 3, 4].map((n) => `${word} ${n},${i < 2 ? 'yes' : 'no'}`),
)
await write('many.csv', ['text,label', ...reviews].join('\n'))
await write('empty.csv', '')
await write('header.csv', 'text,label\n')
await write('columns.csv', 'review,stars\ngood,yes\nbad,no\n')
await write('one-label.csv', 'text,label\ngood,yes\nfine,yes\n')
await write('latin1.csv', Buffer.from('text,label\ncaf\u00e9,yes\nbad,no\n', 'latin1'))
await write('excel.csv', Buffer.from('PK\u0003\u0004\u0014\u0000\u00ff\n', 'latin1'))
await write('mixed.csv', 'text,label\na,1.5\nb,high\n')
await write('other-labels.csv', 'text,label\ngood,maybe\nbad,never\n')
await copyFile(join(masksDir, 'sst2.safetensors'), join(folder, 'sst2.safetensors'))
for (const name of ['results.safetensors', 'no-model', 'no-prototype', 'a', 'b']) await mkdir(join(folder, name))
await copyFile(join(folder, 'many.csv'), join(folder, 'a', 'reviews.csv'))
await copyFile(join(folder, 'many.csv'), join(folder, 'b', 'reviews.csv'))
for (const name of await readdir(modelDir))
  if (name !== 'prototype.safetensors') await symlink(join(modelDir, name), join(folder, 'no-prototype', name))

/** A server that requires API keys, and another program on a port. */
const { server } = await startRunning({ operatorKey })
const otherProgram = createServer((_request, response) => response.end('<html></html>'))
otherProgram.listen(0, '127.0.0.1')
await once(otherProgram, 'listening')
after(() => otherProgram.close())
const otherPort = (otherProgram.address() as AddressInfo).port
const key = { PROPETL_KEY: operatorKey }

interface Mistake {
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly exitCode: 1 | 2
  /** What standard error must say, or for serve the log. */
  readonly says: RegExp
}

const learn = (data: string, ...options: string[]) => ['learn', data, '--out', 'new.safetensors', ...options]
const serve = (...options: string[]) => ['serve', '--port', '0', '--provider', 'cpu', ...options]
const evaluate = (task: string, data = 'reviews.csv', ...options: string[]) => ['evaluate', task, data, ...options]

const mistakes: Readonly<Record<string, Mistake>> = {
  'a model of the Hub that is not in the cache, without network': {
    args: learn('reviews.csv', '--model', 'sentence-transformers/all-MiniLM-L6-v2'),
    env: { HF_HUB_OFFLINE: '1', HF_HUB_CACHE: folder },
    exitCode: 2,
    says: /HF_HUB_OFFLINE is set, but .* no complete copy of sentence-transformers\/all-MiniLM-L6-v2, revision main: start once without/,
  },
  'a model directory that does not exist': {
    args: learn('reviews.csv', '--model-dir', './typo/'),
    exitCode: 2,
    says: /--model-dir \.\/typo\/: there is no such directory\. Expected a Hugging Face directory with config\.json/,
  },
  'a file as --model-dir': {
    args: evaluate('sst2.safetensors', 'reviews.csv', '--model-dir', 'reviews.csv'),
    exitCode: 2,
    says: /--model-dir reviews\.csv is a file; expected the directory/,
  },
  'a model directory without prototype for the score of a task with a mask': {
    args: evaluate('sst2.safetensors', 'reviews.csv', '--model-dir', 'no-prototype'),
    exitCode: 1,
    says: /sst2\.safetensors: the task was trained on prototype .*, but the model has no prototype/,
  },
  'a model directory without prototype for learn': {
    args: learn('many.csv', '--model-dir', 'no-prototype', '--head', 'dense'),
    exitCode: 2,
    says: /no-prototype has no prototype, so [\s\S]*propetl train DATA\.\.\. --model-dir no-prototype --out no-prototype[\s\S]*--head dense needs one/,
  },
  'an empty model directory': {
    args: learn('reviews.csv', '--model-dir', 'no-model'),
    exitCode: 1,
    says: /no-model\/config\.json is missing/,
  },
  'a folder of masks that does not exist': {
    args: learn('reviews.csv', '--start-masks', './typo'),
    exitCode: 2,
    says: /--start-masks \.\/typo cannot be read: .*; name a folder of task files/,
  },
  'swapped arguments of learn': {
    args: ['learn', 'new.safetensors', '--out', 'reviews.csv'],
    exitCode: 2,
    says: /--out reviews\.csv is the name of a data file; .*propetl learn reviews\.csv --out reviews\.safetensors/,
  },
  'a spreadsheet as data': {
    args: learn('reviews.xlsx'),
    exitCode: 1,
    says: /reviews\.xlsx: expected a data file that ends in .*\.jsonl.* as CSV with the encoding UTF-8/,
  },
  'a spreadsheet that is named .csv': {
    args: learn('excel.csv'),
    exitCode: 1,
    says: /excel\.csv: this is not a text file but a ZIP archive or an Excel file\. Save the sheet/,
  },
  'a data file in another encoding': {
    args: learn('latin1.csv'),
    exitCode: 1,
    says: /latin1\.csv:2: column 4 of the line is not UTF-8; save the file with the encoding UTF-8/,
  },
  'an empty data file': {
    args: learn('empty.csv'),
    exitCode: 1,
    says: /empty\.csv: the file has no first line with column names/,
  },
  'a data file with only a header': {
    args: learn('header.csv'),
    exitCode: 1,
    says: /header\.csv: the file has no examples/,
  },
  'other column names': {
    args: learn('columns.csv', '--text-column', 'review'),
    exitCode: 1,
    says: /columns\.csv: there is no column "label"; the file has "review", "stars"\. .* with --label-column/,
  },
  'data with only one label': {
    args: learn('one-label.csv'),
    exitCode: 1,
    says: /one-label\.csv: every row has the same label, "yes"; expected at least two different labels/,
  },
  'numbers and names as labels': {
    args: learn('mixed.csv'),
    exitCode: 1,
    says: /mixed\.csv:3: the label is "high", but other labels are numbers.*--problem-type/,
  },
  'a data file that does not exist': {
    args: learn('typo.csv'),
    exitCode: 1,
    says: /typo\.csv cannot be read: there is no such file/,
  },
  'too few examples': {
    args: learn('reviews.csv'),
    exitCode: 1,
    says: /reviews\.csv: there are too few examples \(4\).*add examples, raise --dev-share, or give a dev file/,
  },
  'learn without --out': { args: ['learn', 'reviews.csv'], exitCode: 2, says: /required option '--out <file>'/ },
  '--out in a directory that does not exist': {
    args: ['learn', 'reviews.csv', '--out', 'typo/new.safetensors'],
    exitCode: 1,
    says: /cannot be written: there is no directory typo; create it first/,
  },
  'a directory as --out': {
    args: ['learn', 'reviews.csv', '--out', 'results.safetensors'],
    exitCode: 1,
    says: /results\.safetensors is a directory; expected the name of the file to write/,
  },
  'a data file as --resume': {
    args: learn('reviews.csv', '--resume', 'reviews.csv'),
    exitCode: 1,
    says: /reviews\.csv: .*safetensors/,
  },
  'an option that does not fit the module of train': {
    args: ['train', 'reviews.csv', '--rank', '4'],
    exitCode: 2,
    says: /--rank needs --module lora; this run has --module adapter/,
  },
  'two tasks with the same name': {
    args: ['train', 'a/reviews.csv', 'b/reviews.csv'],
    exitCode: 2,
    says: /two tasks have the name "reviews"; rename one/,
  },
  'a data file in place of the task of evaluate': {
    args: evaluate('reviews.csv', 'sst2.safetensors'),
    exitCode: 2,
    says: /reviews\.csv is a data file; expected first a task file or the URL of a task, then the data file/,
  },
  'a task on a server with a name like that of a data file': {
    args: evaluate(`${server.address}/tasks/reviews.csv`, 'reviews.csv'),
    env: key,
    exitCode: 1,
    says: /tasks\/reviews\.csv responded with 404: /,
  },
  'a task file as the data of evaluate': {
    args: evaluate('sst2.safetensors', 'sst2.safetensors'),
    exitCode: 1,
    says: /sst2\.safetensors: expected a data file .* looks like a task file/,
  },
  'a metric that does not apply': {
    args: evaluate(`${server.address}/tasks/sst2`, 'reviews.csv', '--metric', 'pearson'),
    env: key,
    exitCode: 2,
    says: /metric "pearson" does not apply to a single_label_classification; expected accuracy/,
  },
  'labels that the task does not have': {
    args: evaluate(`${server.address}/tasks/sst2`, 'other-labels.csv'),
    env: key,
    exitCode: 1,
    says: /other-labels\.csv: none of its labels, such as "maybe", is a label of the task; expected "negative", "positive"/,
  },
  'the URL of a server that does not run': {
    args: evaluate('http://127.0.0.1:2/tasks/sst2'),
    exitCode: 1,
    says: /no server responds at http:\/\/127\.0\.0\.1:2\/tasks\/sst2: .*ECONNREFUSED.*Check the address/,
  },
  'an incomplete URL': {
    args: evaluate('http://'),
    exitCode: 2,
    says: /http:\/\/ is not a valid URL; expected one like/,
  },
  'the URL of a server without a task': {
    args: evaluate(server.address),
    env: key,
    exitCode: 1,
    says: /expected a URL like http:\/\/localhost:8080\/tasks\/reviews|responded with 404/,
  },
  'the URL of another program': {
    args: evaluate(`http://127.0.0.1:${otherPort}/tasks/sst2`),
    exitCode: 1,
    says: /did not respond with JSON; expected a URL like/,
  },
  'a task that the server does not have': {
    args: evaluate(`${server.address}/tasks/typo`),
    env: key,
    exitCode: 1,
    says: /\/tasks\/typo responded with 404: .*typo/,
  },
  'no API key': {
    args: evaluate(`${server.address}/tasks/sst2`),
    exitCode: 1,
    says: /requires an API key; set it in the environment variable PROPETL_KEY/,
  },
  'a wrong API key': {
    args: evaluate(`${server.address}/tasks/sst2`),
    env: { PROPETL_KEY: 'wrong' },
    exitCode: 1,
    says: /rejects the API key in the environment variable PROPETL_KEY: it is unknown, expired or revoked/,
  },
  'a data file for inspect': { args: ['inspect', 'reviews.csv'], exitCode: 1, says: /reviews\.csv: .*safetensors/ },
  'a misspelt data directory of tenants': {
    args: ['tenants', 'list', '--data-dir', 'typo'],
    exitCode: 2,
    says: /there is no store in "typo"; expected the data directory of a server/,
  },
  'a misspelt data directory of backup': {
    args: ['backup', 'copy.lmdb', '--data-dir', 'typo'],
    exitCode: 2,
    says: /there is no typo\/tasks\.lmdb: typo is not the data directory of a server/,
  },
  'an invalid tenant id': {
    args: ['tenants', 'set', 'Big Customer', '--data-dir', 'data'],
    exitCode: 1,
    says: /"Big Customer" is not a .*expected/,
  },
  'a port that another program uses': {
    args: ['serve', '--port', String(otherPort), '--provider', 'cpu', '--data-dir', 'data'],
    exitCode: 1,
    says: /cannot listen on 127\.0\.0\.1:\d+: .*Another process uses the port: stop it, or set another --port/,
  },
  'an invalid port': {
    args: ['serve', '--port', '80800'],
    exitCode: 2,
    says: /--port is "80800"; expected a whole number from 0 to 65535/,
  },
  'a file as --data-dir': {
    args: serve('--data-dir', 'reviews.csv'),
    exitCode: 1,
    says: /the data directory reviews\.csv cannot be used: .*\(EEXIST\)/,
  },
  'a public address without keys': {
    args: serve('--host', '0.0.0.0', '--data-dir', 'data'),
    exitCode: 1,
    says: /--host is 0\.0\.0\.0.*tenants create-key operator/,
  },
  'a certificate without its private key': {
    args: serve('--tls-cert', 'certificate.pem'),
    exitCode: 2,
    says: /--tls-cert and --tls-key/,
  },
  'a masks directory that does not exist': {
    args: serve('--masks-dir', 'typo', '--data-dir', 'data'),
    exitCode: 1,
    says: /the masks directory typo cannot be read/,
  },
}

const run = ({ args, env = {} }: Mistake) =>
  new Promise<{ code: number; output: string }>((resolve) =>
    execFile(
      process.execPath,
      [cli, ...args],
      { cwd: folder, env: { PATH: process.env.PATH, ...env }, timeout: 60_000 },
      (error, stdout, stderr) => resolve({ code: Number(error?.code ?? 0), output: stdout + stderr }),
    ),
  )

test('each mistake exits with its code, and the error names the cause and the remedy', { concurrency: 3 }, (context) =>
  Promise.all(
    Object.entries(mistakes).map(([what, mistake]) =>
      context.test(what, async () => {
        const { code, output } = await run(mistake)
        // JSON escapes the quotes of a log line.
        assert.match(output.replaceAll('\\"', '"'), mistake.says)
        assert.equal(code, mistake.exitCode)
      }),
    ),
  ).then(async () => {
    assert.ok(Object.keys(mistakes).length >= 25)
    assert.ok(!(await readdir(folder)).some((name) => /partial|new\.safetensors|typo/.test(name)))
  }),
)
