// How much a JSON body is, told before it is parsed: a value takes up to fifty times the memory of its text, and parsing
// and checking many of them keeps the event loop from everybody else.

const [quotationMark, backslash, comma] = [0x22, 0x5c, 0x2c]
const [bracket, closingBracket, brace, closingBrace] = [0x5b, 0x5d, 0x7b, 0x7d]

/** No body of the API is deeper than three. */
export const maxDepth = 8

/** An input has at most three fields, and options are few. */
export const maxValues = (maxInputs: number): number => 4 * maxInputs + 100

/**
 * Counts values by what begins or parts them outside of strings. In UTF-8 these bytes are nothing else.
 * @returns what there is too much of, or undefined
 */
export function excessOf(json: Uint8Array, most: number): 'values' | 'depth' | undefined {
  let values = 0
  let depth = 0
  for (let at = 0; at < json.length; at++) {
    const byte = json[at]
    if (byte === quotationMark) at = endOfString(json, at)
    else if (byte === comma) values++
    else if (byte === bracket || byte === brace) {
      values++
      if (++depth > maxDepth) return 'depth'
    } else if (byte === closingBracket || byte === closingBrace) depth--
    if (values > most) return 'values'
  }
  return undefined
}

/** Where the quotation mark is that ends the string which begins at `start`, or where the text ends. */
function endOfString(json: Uint8Array, start: number): number {
  let at = start + 1
  for (let byte = json[at]; at < json.length && byte !== quotationMark; byte = json[at])
    at += byte === backslash ? 2 : 1
  return at
}
