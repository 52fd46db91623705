// Copies parts of texts. In V8 a part of a long string keeps the whole string in memory.

/** A copy of a text that may be part of a longer one. */
export const detached = (text: string): string => Buffer.from(text, 'utf16le').toString('utf16le')
