// How much JSON is read out of a file that anybody may have written: a value takes up to fifty times the memory of its
// text, and parsing many of them stops the server for seconds.

/** Values of a header or of one metadata text; a hundred thousand labels are well within it. */
export const maxValues = 200_000

const [quotationMark, backslash, comma, bracket, brace] = [0x22, 0x5c, 0x2c, 0x5b, 0x7b]

/** Whether a JSON text has at most `maxValues`, counted by what begins or parts them outside of strings. */
export function hasFewValues(text: string): boolean {
  if (text.length <= maxValues) return true
  let values = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quotationMark) at = endOfString(text, at)
    else if ((code === comma || code === bracket || code === brace) && ++values > maxValues) return false
  }
  return true
}

/** Where the quotation mark is that ends the string which begins at `start`, or where the text ends. */
function endOfString(text: string, start: number): number {
  let at = start + 1
  for (let code = text.charCodeAt(at); at < text.length && code !== quotationMark; code = text.charCodeAt(at))
    at += code === backslash ? 2 : 1
  return at
}
