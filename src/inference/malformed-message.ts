// The error for bytes or messages that no correct peer sends. It ends the connection.

export class MalformedMessage extends Error {
  override readonly name = 'MalformedMessage'
}
