// Bounds the size of a JSON body before it is parsed. A value can take fifty times the memory of its text, and parsing and
// validating many values blocks the event loop.

const [quotationMark, backslash, comma] = [0x22, 0x5c, 0x2c]
const [bracket, closingBracket, brace, closingBrace] = [0x5b, 0x5d, 0x7b, 0x7d]

/** Valid bodies have at most three levels. */
export const maxDepth = 8

/** An input has at most three fields, and there are few options. */
export const maxValues = (maxInputs: number): number => 5 * maxInputs + 100

/**
 * Counts values by the commas and brackets outside of strings. In UTF-8 these bytes have no other meaning.
 * @returns which limit the text exceeds, or undefined
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

/** Offset of the quotation mark that ends the string at `start`, or of the end of the text. */
function endOfString(json: Uint8Array, start: number): number {
  let at = start + 1
  for (let byte = json[at]; at < json.length && byte !== quotationMark; byte = json[at])
    at += byte === backslash ? 2 : 1
  return at
}
