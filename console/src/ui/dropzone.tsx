// A place to drop a file on, which also opens the file dialog. The input covers it, so the browser does both.

import { useId, useState } from 'preact/hooks'

export function Dropzone({
  title,
  hint,
  onFile,
}: {
  readonly title: string
  readonly hint: string
  readonly onFile: (file: File) => void
}) {
  const id = useId()
  const [over, setOver] = useState(false)
  return (
    <div class={`dropzone ${over ? 'over' : ''}`}>
      <label for={id}>
        <strong>{title}</strong>
        <span>{hint}</span>
      </label>
      <input
        id={id}
        type="file"
        onDragEnter={() => setOver(true)}
        onDragLeave={() => setOver(false)}
        onDrop={() => setOver(false)}
        onChange={({ currentTarget }) => {
          const file = currentTarget.files?.[0]
          // The same file may be chosen again.
          currentTarget.value = ''
          if (file) onFile(file)
        }}
      />
    </div>
  )
}
