// Content types, and other headers of a word with parameters (RFC 9110, section 8.3.1).

/** curl sends any body with this type by default. */
export const curlType = 'application/x-www-form-urlencoded'

export interface MediaType {
  /** In lower case, without parameters. */
  readonly type: string
  /** Values by name in lower case. The first of equal names counts. */
  readonly parameters: ReadonlyMap<string, string>
}

/** A quoted value can escape characters. */
function readParameters(text: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>()
  for (const [, name = '', quoted, token = ''] of text.matchAll(
    /;[ \t]*([^\s=;"]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))/g,
  )) {
    const value = quoted === undefined ? token : quoted.replaceAll(/\\(.)/g, '$1')
    if (!parameters.has(name.toLowerCase())) parameters.set(name.toLowerCase(), value)
  }
  return parameters
}

/** @param header undefined if the request has none */
export function readMediaType(header = ''): MediaType {
  const end = header.indexOf(';')
  const type = (end < 0 ? header : header.slice(0, end)).trim().toLowerCase()
  return { type, parameters: end < 0 ? new Map() : readParameters(header.slice(end)) }
}
