// What a client prefers, by the headers Accept and Accept-Encoding (RFC 9110, section 12.5).

/**
 * The weight that a header gives to a value that it names, from 0 to 1; 0 if it does not name it.
 * @param value in lower case
 */
export function weightOf(header: string | undefined, value: string): number {
  for (const member of header?.split(',') ?? []) {
    const [name, ...parameters] = member.split(';').map((part) => part.trim().toLowerCase())
    if (name !== value) continue
    const weight = parameters.find((parameter) => parameter.startsWith('q='))
    return weight === undefined ? 1 : Number(weight.slice(2)) || 0
  }
  return 0
}
