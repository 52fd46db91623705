// Slow reading of sockets that send tiny pieces: in turns, one read after another, however many they are.

import type { Socket } from 'node:net'
import { Pace } from './pace.js'

/** Time between two reads, in milliseconds. One read has up to 11,000 pieces, which take some tens of milliseconds. */
const everyMs = 500

export class SlowReads {
  /** In the order of their turns. */
  readonly #waiting = new Set<() => void>()
  readonly #pace = new Pace(everyMs)
  #timer: NodeJS.Timeout | undefined

  /** Calls back when it is the socket's turn. A socket that closes loses its turn. */
  wait(socket: Socket, read: () => void): void {
    const turn = () => {
      socket.off('close', leave)
      read()
    }
    const leave = () => this.#waiting.delete(turn)
    socket.once('close', leave)
    this.#waiting.add(turn)
    this.#plan()
  }

  #plan(): void {
    if (this.#timer !== undefined || this.#waiting.size === 0) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      const [first] = this.#waiting
      if (first) {
        this.#waiting.delete(first)
        first()
      }
      this.#plan()
    }, this.#pace.take()).unref()
  }
}
