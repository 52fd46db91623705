// The certificate that HTTPS is served with: read from files, and taken anew when they change, so that it can be renewed
// while the server runs.

import { X509Certificate } from 'node:crypto'
import { readFileSync, unwatchFile, watchFile } from 'node:fs'
import type { Server } from 'node:https'
import { createSecureContext } from 'node:tls'
import { Problem } from '../problem.js'

export interface CertificateFiles {
  /** PEM: the certificate, and those up to the authority. */
  readonly cert: string
  /** PEM, not encrypted. */
  readonly key: string
}

interface Pair {
  readonly cert: Buffer
  readonly key: Buffer
}

/** Files are looked at, not listened to: orchestrators replace them through links, which notifications miss. */
const lookEveryMs = 5_000

export class Certificate {
  #pair: Pair
  readonly #servers = new Set<Server>()
  readonly #stops: (() => void)[] = []

  /** @throws Problem `invalid_setting` if the files cannot be read or do not make a pair */
  constructor(readonly files: CertificateFiles) {
    this.#pair = readPair(files)
  }

  get pair(): Pair {
    return this.#pair
  }

  /** Until when clients accept the certificate that is served, in milliseconds of the epoch. */
  get validUntil(): number {
    return Date.parse(new X509Certificate(this.#pair.cert).validTo)
  }

  /** New connections of the server get whatever is current. */
  use(server: Server): void {
    this.#servers.add(server)
    server.once('close', () => this.#servers.delete(server))
  }

  /** Takes the files as they are now. What is wrong leaves all as it was. @throws Problem as the constructor */
  reload(): void {
    this.#pair = readPair(this.files)
    for (const server of this.#servers) server.setSecureContext(this.#pair)
  }

  /** Reloads whenever a file changes. Between two files of one renewal they do not fit, which is told like any failure. */
  watch(onReload: () => void, onFailure: (problem: Problem) => void, everyMs = lookEveryMs): void {
    const changed = () => {
      try {
        this.reload()
        onReload()
      } catch (error) {
        if (!(error instanceof Problem)) throw error
        onFailure(error)
      }
    }
    for (const file of [this.files.cert, this.files.key]) {
      watchFile(file, { interval: everyMs, persistent: false }, changed)
      this.#stops.push(() => unwatchFile(file, changed))
    }
  }

  close(): void {
    for (const stop of this.#stops) stop()
  }
}

function readPair(files: CertificateFiles): Pair {
  const read = (file: string) => {
    try {
      return readFileSync(file)
    } catch (error) {
      throw new Problem('invalid_setting', `${file} cannot be read: ${(error as Error).message}`)
    }
  }
  const pair = { cert: read(files.cert), key: read(files.key) }
  try {
    createSecureContext(pair)
    return pair
  } catch (error) {
    throw new Problem(
      'invalid_setting',
      `${files.cert} and ${files.key} do not make a certificate and its private key in PEM, without a passphrase: ${(error as Error).message}`,
    )
  }
}
