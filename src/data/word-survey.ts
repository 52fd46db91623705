// Collects the labels of words, or of spans, of a data file: the labels of the task, the tag scheme, and the rule by which
// the file divides texts into words.

import { iob2Labels, TagSurvey } from '../formats/tag-schemes.js'
import type { Example } from './examples.js'
import type { LabelSpace } from './label-space.js'
import { WordEvidence } from './word-evidence.js'

export class WordSurvey {
  readonly #tags = new TagSurvey()
  readonly #evidence = new WordEvidence()
  readonly #labels = new Set<string>()
  readonly #types = new Set<string>()

  add({ text, label, words, spans }: Example): void {
    if (spans) {
      for (const span of spans) this.#types.add(span.label)
      this.#evidence.addSpans(text, spans)
    }
    if (!words || typeof label !== 'object') return
    for (const name of label) this.#labels.add(name)
    this.#tags.add(label)
    this.#evidence.add(words.map(({ start, end }) => text.slice(start, end)))
  }

  get result(): Pick<LabelSpace, 'labels' | 'words' | 'tagScheme'> {
    const scheme = this.#tags.result
    const types = [...this.#types, ...(scheme?.types ?? [])]
    const labels = types.length > 0 ? iob2Labels(types) : [...this.#labels]
    return {
      labels: [...labels].sort((a, b) => (a < b ? -1 : 1)),
      words: this.#evidence.rule,
      ...(scheme && { tagScheme: scheme.name }),
    }
  }
}
