// Splits a JSON document into the objects that are its rows, without holding the document in memory. They are the elements of
// an array that is the document itself, or the value of a key of the document: {"data": [{…}, {…}]}.

import { maxRowLength, type PlacedText } from './data-file.js'
import { throwInvalidData } from './invalid-data.js'

const quotationMark = 0x22
const backslash = 0x5c
const lineFeed = 0x0a
const [bracket, closingBracket, brace, closingBrace] = [0x5b, 0x5d, 0x7b, 0x7d]

/** Names of keys longer than this are cut in messages. */
const maxKeyLength = 200

export class JsonElements {
  #depth = 0
  #line = 1
  #inString = false
  #escaped = false
  /** Whether the document is an object. */
  #wrapped = false
  /** Whether the scan is directly within an array whose objects are rows. */
  #inRows = false
  #key = ''
  #rowsKey: string | undefined
  #count = 0
  /** The text of the current element so far; undefined outside of elements. */
  #element: string[] | undefined
  #elementLength = 0
  #elementLine = 0

  constructor(readonly path: string) {}

  /** Number of elements so far. */
  get count(): number {
    return this.#count
  }

  /** @returns the elements that a piece of text completes, with their places as `file:line, element N` */
  add(text: string): readonly PlacedText[] {
    const elements: PlacedText[] = []
    let start = 0
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at)
      if (code === lineFeed) this.#line++
      if (this.#inString) {
        this.#scanString(text, at, code)
        continue
      }
      switch (code) {
        case quotationMark:
          this.#inString = true
          if (this.#wrapped && this.#depth === 1) this.#key = ''
          else if (this.#element === undefined) this.#checkElement('a string')
          break
        case brace:
        case bracket:
          if (this.#element === undefined && this.#beginsElement(code)) {
            start = at
            this.#element = []
            this.#elementLength = 0
            this.#elementLine = this.#line
          }
          this.#depth++
          break
        case closingBrace:
        case closingBracket:
          this.#depth--
          if (this.#element && this.#depth === this.#elementDepth) {
            elements.push(this.#endElement(text.slice(start, at + 1)))
          } else if (this.#element === undefined && this.#depth === this.#elementDepth - 1) this.#inRows = false
          break
      }
    }
    if (this.#element) {
      this.#element.push(text.slice(start))
      this.#elementLength += text.length - start
      if (this.#elementLength > maxRowLength)
        throwInvalidData(
          `${this.path}:${this.#elementLine}`,
          `the object is longer than ${maxRowLength} characters, the limit for a row`,
        )
    }
    return elements
  }

  /** @throws Problem `invalid_data` if the document is not complete or has no rows */
  end(): void {
    if (this.#depth !== 0 || this.#inString)
      throwInvalidData(`${this.path}:${this.#line}`, 'not JSON: the file ends before its last bracket is closed')
    if (this.#count === 0)
      throwInvalidData(
        this.path,
        'the file has no array of objects; expected [{"text": …, "label": …}, …], an object with such an array, or ' +
          'JSON Lines. In pandas: df.to_json(path, orient="records")',
      )
  }

  get #elementDepth(): number {
    return this.#wrapped ? 2 : 1
  }

  #scanString(text: string, at: number, code: number): void {
    if (this.#wrapped && this.#depth === 1 && code !== quotationMark && this.#key.length < maxKeyLength)
      this.#key += text[at] ?? ''
    if (this.#escaped) this.#escaped = false
    else if (code === backslash) this.#escaped = true
    else if (code === quotationMark) this.#inString = false
  }

  /** Whether an object or array is a row. Also notes where rows begin. */
  #beginsElement(code: number): boolean {
    if (this.#depth === 0) {
      this.#wrapped = code === brace
      this.#inRows = !this.#wrapped
      return false
    }
    if (this.#wrapped && this.#depth === 1) {
      this.#inRows = code === bracket
      return false
    }
    if (!this.#inRows || this.#depth !== this.#elementDepth) return false
    if (code === bracket) {
      this.#checkElement('an array')
      this.#inRows = false
      return false
    }
    if (this.#wrapped) {
      if (this.#rowsKey !== undefined && this.#rowsKey !== this.#key)
        throwInvalidData(
          `${this.path}:${this.#line}`,
          `the file has several arrays of objects, "${this.#rowsKey}" and "${this.#key}"; write each to a file of its own`,
        )
      this.#rowsKey = this.#key
    }
    return true
  }

  /** The elements of a document that is an array must be objects. An object may have other arrays than that of its rows. */
  #checkElement(what: string): void {
    if (this.#depth === 1 && !this.#wrapped)
      throwInvalidData(
        `${this.path}:${this.#line}`,
        `element ${this.#count + 1} of the array is ${what}; expected an object such as {"text": …, "label": …}`,
      )
  }

  #endElement(rest: string): PlacedText {
    const text = [...(this.#element ?? []), rest].join('')
    this.#element = undefined
    return { place: `${this.path}:${this.#elementLine}, element ${++this.#count}`, text }
  }
}
