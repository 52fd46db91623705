// Work that is planned for the next turn of the event loop.

/** Makes a function that does the work in the next turn of the event loop; further calls until then do nothing. */
export function oncePerTurn(work: () => void): () => void {
  let isPlanned = false
  return () => {
    if (isPlanned) return
    isPlanned = true
    setImmediate(() => {
      isPlanned = false
      work()
    })
  }
}
