// The certificate of HTTPS. Its files are read again every few seconds, so that it can be renewed while the server runs.
// Comparing their bytes is more reliable than file notifications, which can get lost or come during the start.

import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Server } from 'node:https'
import { createSecureContext } from 'node:tls'
import { Problem } from '../problem.js'

export interface CertificateFiles {
  /** PEM: the certificate and its chain. */
  readonly cert: string
  /** PEM without a passphrase. */
  readonly key: string
}

export interface CertificatePair {
  readonly cert: Buffer
  readonly key: Buffer
}

const checkEveryMs = 5_000

export interface CertificateReport {
  readonly renewed: () => void
  /** The changed files are invalid. The server keeps the old certificate. */
  readonly rejected: (problem: Problem) => void
}

export class Certificate {
  #pair: CertificatePair
  readonly #servers = new Set<Server>()
  /** Called with a new certificate. */
  onReplaced: (pair: CertificatePair) => void = () => {}
  #report: CertificateReport = { renewed: () => {}, rejected: () => {} }
  /** The last reported error: it is not reported twice. */
  #reported: string | undefined
  #checking: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined

  private constructor(
    /** Undefined if another process reads them. */
    readonly files: CertificateFiles | undefined,
    pair: CertificatePair,
  ) {
    this.#pair = pair
  }

  /** @throws Problem `invalid_setting` if the files cannot be read or do not make a pair */
  static async open(files: CertificateFiles): Promise<Certificate> {
    const pair = await readPair(files)
    checkPair(files, pair)
    return new Certificate(files, pair)
  }

  /** A certificate that another process has read. */
  static of(pair: CertificatePair): Certificate {
    return new Certificate(undefined, pair)
  }

  get pair(): CertificatePair {
    return this.#pair
  }

  /** When the certificate expires, in milliseconds since the epoch. */
  get validUntil(): number {
    return Date.parse(new X509Certificate(this.#pair.cert).validTo)
  }

  /** Gives the current certificate to new connections of a server. */
  use(server: Server): void {
    this.#servers.add(server)
    server.once('close', () => this.#servers.delete(server))
  }

  replace(pair: CertificatePair): void {
    this.#pair = pair
    for (const server of this.#servers) server.setSecureContext(pair)
    this.onReplaced(pair)
  }

  /** Reloads the files when they change. In the middle of a renewal they do not match, which is reported once. */
  watch(report: CertificateReport, everyMs = checkEveryMs): void {
    this.#report = report
    this.#timer = setInterval(() => this.#check(), everyMs).unref()
  }

  /** Checks the files now. It reports an error even if it was reported before. */
  async reload(): Promise<void> {
    await this.#checking
    this.#reported = undefined
    await this.#check()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  /** One check at a time: the disk of the files may hang. */
  #check(): Promise<void> {
    this.#checking ??= this.#take().finally(() => {
      this.#checking = undefined
    })
    return this.#checking
  }

  async #take(): Promise<void> {
    const { files } = this
    if (files === undefined) return
    try {
      const pair = await readPair(files)
      const isSame = pair.cert.equals(this.#pair.cert) && pair.key.equals(this.#pair.key)
      if (!isSame) checkPair(files, pair)
      this.#reported = undefined
      if (isSame) return
      this.replace(pair)
      this.#report.renewed()
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      if (error.message !== this.#reported) this.#report.rejected(error)
      this.#reported = error.message
    }
  }
}

async function readPair({ cert, key }: CertificateFiles): Promise<CertificatePair> {
  const read = (file: string) =>
    readFile(file).catch((error: Error) => {
      throw new Problem('invalid_setting', `${file} cannot be read: ${error.message}`)
    })
  const [certBytes, keyBytes] = await Promise.all([read(cert), read(key)])
  return { cert: certBytes, key: keyBytes }
}

function checkPair({ cert, key }: CertificateFiles, pair: CertificatePair): void {
  try {
    createSecureContext(pair)
  } catch (error) {
    throw new Problem(
      'invalid_setting',
      `${cert} and ${key} are not a certificate and its private key; expected PEM files without a passphrase: ${(error as Error).message}`,
    )
  }
}
