// The notations of labels, and what looks wrong in them.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { looksLikeList, parseList } from '../../src/data/label-cells.js'
import { countsOf, examplesOf, fileOf, reviews, reviewsCsv, surveyOf } from './files.js'

const topics = [['food', 'service'], ['food'], ['price'], ['price', 'service'], []]
const quoted = (cell: string) => `"${cell.replaceAll('"', '""')}"`
/** A CSV in which each row has some of three topics. */
const topicsCsv = (cell: (labels: readonly string[]) => string): string =>
  `text,label\n${Array.from({ length: 150 }, (_, at) => `review ${at},${quoted(cell(topics[at % 5] ?? []))}\n`).join('')}`
const topicCounts = { food: 60, service: 60, price: 60 }

const python = (labels: readonly string[]) => `[${labels.map((label) => `'${label}'`).join(', ')}]`
const notations: readonly (readonly [what: string, cell: (labels: readonly string[]) => string])[] = [
  ['commas', (labels) => labels.join(', ')],
  ['semicolons', (labels) => labels.join(';')],
  ['vertical bars', (labels) => labels.join('|')],
  ['number signs', (labels) => labels.join('#')],
  ['JSON', (labels) => JSON.stringify(labels)],
  ['Python', python],
  ['NumPy', (labels) => python(labels).replaceAll(',', '')],
  ['Python tuples', (labels) => (labels.length === 0 ? '()' : `(${labels.map((label) => `'${label}',`).join(' ')})`)],
  ['brackets without quotes', (labels) => `[${labels.join(', ')}]`],
  ['Label Studio', (labels) => (labels.length === 1 ? (labels[0] ?? '') : JSON.stringify({ choices: labels }))],
]

for (const [what, cell] of notations)
  test(`reads lists of labels in the notation of ${what}`, async () => {
    const path = await fileOf('topics.csv', topicsCsv(cell))
    const survey = await surveyOf(path, { problem: 'multi_label_classification' })
    assert.deepEqual(countsOf(survey), topicCounts)
    assert.deepEqual(survey.labels.space.labels, ['food', 'price', 'service'])
    assert.equal(survey.examples, 150)
  })

test('recognises lists in brackets without a problem type', async () => {
  for (const [what, cell] of notations.filter(([what]) => ['JSON', 'Python', 'NumPy', 'Label Studio'].includes(what))) {
    const survey = await surveyOf(await fileOf('topics.csv', topicsCsv(cell)))
    assert.equal(survey.labels.found, 'multi_label_classification', what)
    assert.deepEqual(countsOf(survey), topicCounts)
  }
})

test('warns about lists that are taken for names', async () => {
  const path = await fileOf(
    'topics.csv',
    topicsCsv((labels) => labels.join(';')),
  )
  const { labels } = await surveyOf(path)
  assert.equal(labels.found, 'single_label_classification')
  assert.match(labels.warnings.join(), /"food;service" look like lists of labels; .*multi_label_classification/)
})

test('asks for the separator if the labels have several of them', async () => {
  const path = await fileOf('a.csv', 'text,label\na,"Home, Garden;Toys"\nb,"Home, Garden"\nc,Toys\n')
  const problem = 'multi_label_classification'
  await assert.rejects(surveyOf(path, { problem }), /contain ";" and ","; say which .*--label-separator/)
  const survey = await surveyOf(path, { problem, columns: { labelSeparator: ';' } })
  assert.deepEqual(countsOf(survey), { 'Home, Garden': 2, Toys: 2 })
})

test('rejects a list that is not complete, by row, column and cell', async () => {
  const path = await fileOf('a.csv', `text,label\na,['food']\nb,"['food'"\n`)
  await assert.rejects(
    surveyOf(path),
    /a\.csv:3: column "label" is "\['food'"; it looks like a list, but is not complete/,
  )
  await assert.rejects(surveyOf(await fileOf('a.csv', `text,label\na,"['food', ['x']]"\n`)), /looks like a list/)
})

test('parses lists and leaves other cells alone', () => {
  const lists: readonly (readonly [string, readonly unknown[]])[] = [
    [`["a","b"]`, ['a', 'b']],
    [`['it\\'s', "x\\u00e9"]`, ["it's", 'xé']],
    ['[1184327659820351489, 2]', ['1184327659820351489', 2]],
    ['[1. 0. 1.]', ['1.', '0.', '1.']],
    ['[]', []],
    [`{'a', 'b'}`, ['a', 'b']],
  ]
  for (const [cell, items] of lists) {
    assert.deepEqual(parseList(cell), items, cell)
    assert.ok(looksLikeList(cell), cell)
  }
  for (const cell of [`{'a': 1}`, `['a', ['b']]`, `['a'`, `{"a": ["b"]}`])
    assert.equal(parseList(cell), undefined, cell)
  for (const cell of ['[Other]', '(misc)', '[1] Strongly agree', 'a;b', '']) assert.ok(!looksLikeList(cell), cell)
})

test('reads a column for each label', async () => {
  const rows = topics.flatMap((labels, at) => [
    `${at},review,${['price', 'service', 'food'].map((label) => (labels.includes(label) ? (at % 2 ? '1' : 'True') : '0')).join(',')}\n`,
  ])
  const path = await fileOf('onehot.csv', `id,text,price,service,food\n${rows.join('')}`)
  const columns = { labelColumns: ['price', 'service', 'food'] }
  const survey = await surveyOf(path, { columns })
  assert.deepEqual(survey.labels.space.labels, ['food', 'price', 'service'])
  const examples = await examplesOf(path, { columns })
  assert.deepEqual(examples[3]?.label, ['price', 'service'])
  await assert.rejects(surveyOf(path), /no column "label".*--label-columns price,service,food/)
  const wrong = await fileOf('a.csv', 'text,x,y\na,0,2\n')
  await assert.rejects(
    surveyOf(wrong, { columns: { labelColumns: ['x', 'y'] } }),
    /a\.csv:2: column "y" is "2"; expected 0 or 1/,
  )
})

test('reads columns and labels with the names of properties of objects', async () => {
  const path = await fileOf('races.csv', 'text,constructor\na fast lap,toString\na slow lap,constructor\n')
  const examples = await examplesOf(path, { columns: { label: 'constructor' } })
  assert.deepEqual(
    examples.map(({ label }) => label),
    ['toString', 'constructor'],
  )
  const arrays = await fileOf('races.jsonl', '{"text":"a","label":["constructor","constructor"]}')
  const [example] = await examplesOf(arrays)
  assert.deepEqual(example?.label, ['constructor', 'constructor'])
})

test('reads arrays of zeros and ones, and numbers, with the names of labels', async () => {
  const labelNames = ['price', 'service', 'food']
  const arrays = topics.map((labels) => labelNames.map((name) => (labels.includes(name) ? 1 : 0)))
  const path = await fileOf('a.jsonl', arrays.map((label) => JSON.stringify({ text: 'a', label })).join('\n'))
  await assert.rejects(surveyOf(path), /arrays of 3 zeros and ones; give the names .*--label-names/)
  await assert.rejects(surveyOf(path, { columns: { labelNames: ['a', 'b'] } }), /but there are 2 label names/)
  assert.deepEqual(countsOf(await surveyOf(path, { columns: { labelNames } })), { food: 2, service: 2, price: 2 })
  const cells = await fileOf('a.csv', `text,label\n${arrays.map((label) => `a,"[${label.join(' ')}]"\n`).join('')}`)
  assert.deepEqual(countsOf(await surveyOf(cells, { columns: { labelNames } })), { food: 2, service: 2, price: 2 })
  const indexes = await fileOf('a.jsonl', '{"text":"a","label":[0,2]}\n{"text":"b","label":[1]}')
  assert.deepEqual(countsOf(await surveyOf(indexes, { columns: { labelNames } })), { price: 1, food: 1, service: 1 })
  const numbers = await fileOf('a.csv', 'text,label\na,0\nb,2.0\nc,food\nd,-1\n')
  assert.deepEqual(countsOf(await surveyOf(numbers, { columns: { labelNames } })), { food: 2, price: 1 })
  const beyond = await fileOf('a.csv', 'text,label\na,3\n')
  await assert.rejects(surveyOf(beyond, { columns: { labelNames } }), /a\.csv:2: column "label" is "3", but .* 0 to 2/)
})

test('rows whose label is missing are skipped with their reason', async () => {
  for (const [cell, reason] of [
    ['', 'column "label" is empty'],
    [' ', 'column "label" is empty'],
    ['nan', 'column "label" is "nan"'],
    ['NULL', 'column "label" is "NULL"'],
  ] as const) {
    const path = await fileOf(
      'a.csv',
      reviewsCsv(120, (label, at) => (at === 20 ? cell : label)),
    )
    const survey = await surveyOf(path)
    assert.deepEqual(countsOf(survey), { neg: 60, pos: 59 })
    assert.deepEqual(
      survey.skipped.map((skip) => [skip.reason, skip.rows, skip.places[0]?.split(':').at(-1)]),
      [[reason, 1, '22']],
    )
  }
  const none = await surveyOf(
    await fileOf(
      'a.csv',
      reviewsCsv(120, (label, at) => (at < 20 ? 'None' : label)),
    ),
  )
  assert.match(none.labels.warnings.join(), /20 rows have the label "None"/)
})

test('white space around labels is removed, and labels that look alike are reported', async () => {
  const spaces = await surveyOf(
    await fileOf(
      'a.csv',
      reviewsCsv(120, (label, at) => (at % 5 === 0 ? `${label} ` : label)),
    ),
  )
  assert.deepEqual(countsOf(spaces), { pos: 60, neg: 60 })
  assert.deepEqual(spaces.labels.warnings, [])
  const cases = await surveyOf(
    await fileOf(
      'a.csv',
      reviewsCsv(120, (label, at) => (at % 5 === 0 ? label.toUpperCase() : label)),
    ),
  )
  assert.deepEqual(cases.labels.warnings, [
    'labels differ only by case or white space: "neg" (48) and "NEG" (12); "pos" (48) and "POS" (12)',
  ])
})

test('whole numbers that are written as floats are the same labels', async () => {
  const path = await fileOf(
    'a.csv',
    reviewsCsv(120, (label, at) => `${label === 'pos' ? 1 : 0}${at % 4 < 2 ? '.0' : ''}`),
  )
  const survey = await surveyOf(path)
  assert.deepEqual(survey.labels.space, { problem: 'single_label_classification', labels: ['0', '1'] })
  const versions = await surveyOf(await fileOf('a.csv', 'text,label\na,3.1\nb,3.10\nc,3.1\n'))
  assert.throws(() => versions.labels.space, /every row has the same number, 3\.1; .*single_label_classification/)
  const named = await surveyOf(await fileOf('a.csv', 'text,label\na,3.1\nb,3.10\n'), {
    problem: 'single_label_classification',
  })
  assert.deepEqual(named.labels.space.labels, ['3.1', '3.10'])
})

test('warns if labels look like amounts or ratings', async () => {
  const stars = await surveyOf(
    await fileOf(
      'a.csv',
      reviewsCsv(120, (_, at) => `${(at % 5) + 1}.0`),
    ),
  )
  assert.equal(stars.labels.found, 'single_label_classification')
  assert.match(stars.labels.warnings.join(), /the 5 labels are whole numbers .*--problem-type regression/)
  const grades = await surveyOf(
    await fileOf(
      'a.csv',
      reviewsCsv(120, (_, at) => `${at % 4}.5`),
    ),
  )
  assert.equal(grades.labels.found, 'regression')
  assert.match(grades.labels.warnings.join(), /only 4 different numbers/)
  const own = await surveyOf(
    await fileOf(
      'a.csv',
      reviewsCsv(120, (_, at) => `name${at}`),
    ),
  )
  assert.match(own.labels.warnings.join(), /nearly every row has a label of its own/)
})

test('names the notation of numbers that are not read', async () => {
  for (const [cell, notation] of [
    ['"4,37"', 'a number with a decimal comma'],
    ['81.6%', 'a number with a percent sign'],
    ['$4.99', 'an amount with a currency sign'],
  ] as const) {
    const path = await fileOf(
      'a.csv',
      reviewsCsv(10, (_, at) => (at === 3 ? cell.replace(/\d/, '7') : cell)),
    )
    const message = new RegExp(`a\\.csv:2: the label .* is ${notation}; write numbers as 4\\.37`)
    await assert.rejects(async () => (await surveyOf(path)).labels.space, message)
    await assert.rejects(async () => (await surveyOf(path, { problem: 'regression' })).labels.space, message)
    const names = await surveyOf(path, { problem: 'single_label_classification' })
    assert.equal(names.labels.space.labels.length, 2)
  }
})

test('a label that is a whole text is rejected', async () => {
  const path = await fileOf('a.csv', `text,label\na,${'long '.repeat(300)}\n`)
  await assert.rejects(surveyOf(path), /a\.csv:2: the label has 1499 characters; the limit is 1000.*--label-column/)
})

test('a blank second text means that there is none', async () => {
  const pairs = reviews(120).map(({ text, label }, at) => ({
    text,
    text_pair: at % 4 === 0 ? 'more of it' : null,
    label,
  }))
  const csv = pairs.map(({ text, text_pair, label }) => `${text},${text_pair ?? ''},${label}\n`).join('')
  const jsonl = (blank: null | string) =>
    pairs.map((row) => JSON.stringify({ ...row, text_pair: row.text_pair ?? blank })).join('\n')
  for (const path of [
    await fileOf('a.csv', `text,text_pair,label\n${csv}`),
    await fileOf('a.jsonl', jsonl(null)),
    await fileOf('a.jsonl', jsonl('')),
  ]) {
    const examples = await examplesOf(path, { columns: { pairs: true } })
    assert.equal(examples.length, 120)
    assert.equal(examples.filter(({ textPair }) => textPair === 'more of it').length, 30)
    assert.equal(examples.filter(({ textPair }) => textPair === undefined).length, 90)
  }
  const blankText = await fileOf('a.csv', 'text,text_pair,label\na,b,x\n,b,y\na,,x\n')
  const survey = await surveyOf(blankText, { problem: 'feature_extraction' })
  assert.deepEqual(
    survey.skipped.map(({ reason }) => reason),
    ['column "text" is empty', 'column "text_pair" is empty'],
  )
})

test('reads lists of words and tags in cells of CSV', async () => {
  const words = ['Grace', 'Hopper', 'lives']
  const tags = ['B-PER', 'I-PER', 'O']
  for (const list of [JSON.stringify, python]) {
    const path = await fileOf('a.csv', `text,label\n${quoted(list(words))},${quoted(list(tags))}\n`)
    const [example] = await examplesOf(path)
    assert.deepEqual([example?.text, example?.label, example?.words?.length], ['Grace Hopper lives', tags, 3])
  }
})

test('finds repeated texts with other labels, whatever the labels are', async () => {
  const conflicts = async (labels: readonly unknown[]) => {
    const rows = labels.map((label) => JSON.stringify({ text: 'Grace Hopper', label }))
    const { repeated, conflicting } = await surveyOf(await fileOf('a.jsonl', rows.join('\n')))
    assert.equal(repeated.count, labels.length - 1)
    return conflicting.shown
  }
  assert.deepEqual(await conflicts(['a', 'a', 'b']), [{ first: 1, second: 3 }])
  assert.deepEqual(await conflicts([['a', 'b'], ['b', 'a'], ['a']]), [{ first: 1, second: 3 }])
  const person = { start: 0, end: 12, label: 'PER' }
  const place = { start: 0, end: 12, label: 'LOC' }
  assert.deepEqual(await conflicts([[person], [person], [place]]), [{ first: 1, second: 3 }])
})
