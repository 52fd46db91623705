// Times that processes of this machine exchange. performance.now() counts from the start of a process. process.hrtime() reads
// the same monotonic clock, but counts from a time that all processes share. Steps of the wall clock change neither.

/** The start of this process. It is read several times, because the process may be interrupted between both clocks. */
const originMs = Math.max(...Array.from({ length: 5 }, () => Number(process.hrtime.bigint()) / 1e6 - performance.now()))

/** A time of this process's performance.now(), as other processes understand it. */
export const toMachineTime = (ms: number): number => ms + originMs

export const fromMachineTime = (ms: number): number => ms - originMs
