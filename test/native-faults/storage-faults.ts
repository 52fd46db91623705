// Storage faults for a process that a test starts. The C library next to this file is loaded with LD_PRELOAD, and is
// controlled while the process runs.

import { constants as os } from 'node:os'
import { buildLibrary, Control } from './library.js'

export type StorageCall = 'write' | 'flush' | 'resize'

export type StorageFault =
  /** The call fails and does nothing. */
  | { readonly kind: 'fail'; readonly error: 'ENOSPC' | 'EIO' | 'EDQUOT' | 'EROFS' }
  /** The process is killed before the call, after it, or when half of it is done. */
  | { readonly kind: 'kill'; readonly when: 'before' | 'after' | 'halfway' }
  /** A write does half of its work and reports that. */
  | { readonly kind: 'shorten' }
  /** The call is delayed. The delay ends early when another fault is set. */
  | { readonly kind: 'delay'; readonly delayMs: number }

export interface StorageFaultRange {
  /** The kinds of calls that are counted and get the fault. Default: all. */
  readonly calls?: readonly StorageCall[]
  /** The first counted call that gets the fault. Counting starts at 1 when the fault is set. Default: 1. */
  readonly first?: number
  /** How many calls get the fault. Default: all. */
  readonly times?: number
}

// Indexes of 32-bit numbers in the library's struct control.
const place = { action: 0, kinds: 1, first: 2, times: 3, error: 4, delay: 5, calls: 6, faults: 7 }
const all = 0xffff_ffff
const kindBits: Readonly<Record<StorageCall, number>> = { write: 1, flush: 2, resize: 4 }
const killActions = { before: 2, after: 3, halfway: 4 }

export class StorageFaults {
  private constructor(
    readonly control: Control,
    /** Environment variables for the process. Its child processes share the counters. */
    readonly env: Readonly<Record<string, string>>,
  ) {}

  /** @param path files whose path starts with it get the faults; it must be absolute, without symbolic links */
  static async on(path: string): Promise<StorageFaults> {
    const control = await Control.create(Object.keys(place).length)
    const faults = new StorageFaults(control, {
      LD_PRELOAD: await buildLibrary('storage-faults'),
      STORAGE_FAULTS_PATH: path,
      STORAGE_FAULTS_CONTROL: control.path,
      // Writes through io_uring do not call the C library.
      UV_USE_IO_URING: '0',
    })
    faults.count()
    return faults
  }

  /** Replaces the fault, and counts calls from 0. */
  set(fault: StorageFault, range: StorageFaultRange = {}): void {
    this.#steer(actionOf(fault), range, {
      error: fault.kind === 'fail' ? os.errno[fault.error] : 0,
      delay: fault.kind === 'delay' ? fault.delayMs : 0,
    })
  }

  /** Ends the fault and counts calls from 0. */
  count(calls?: readonly StorageCall[]): void {
    this.#steer(0, calls ? { calls } : {}, { error: 0, delay: 0 })
  }

  /** Calls that were counted since the fault was set. */
  get calls(): number {
    return this.control.read(place.calls)
  }

  /** Calls that got the fault. */
  get faults(): number {
    return this.control.read(place.faults)
  }

  close(): void {
    this.control.close()
  }

  #steer(action: number, range: StorageFaultRange, { error, delay }: { error: number; delay: number }): void {
    const { calls = ['write', 'flush', 'resize'], first = 1, times = all } = range
    // No fault happens while the numbers change one by one.
    this.control.write(place.action, 0)
    this.control.write(
      place.kinds,
      calls.reduce((bits, call) => bits | kindBits[call], 0),
    )
    this.control.write(place.first, first)
    this.control.write(place.times, times)
    this.control.write(place.error, error)
    this.control.write(place.delay, delay)
    this.control.write(place.calls, 0)
    this.control.write(place.faults, 0)
    this.control.write(place.action, action)
  }
}

function actionOf(fault: StorageFault): number {
  switch (fault.kind) {
    case 'fail':
      return 1
    case 'kill':
      return killActions[fault.when]
    case 'shorten':
      return 5
    case 'delay':
      return 6
  }
}
