// The dialog that makes a task of a file: an id, the data report, the upload, and the first job.

import { useState } from 'preact/hooks'
import { call, path } from '../api/client.js'
import type { Job, PostedExamples } from '../api/types.js'
import { plural } from '../format.js'
import { go } from '../route.js'
import { Dropzone } from '../ui/dropzone.js'
import { Dialog, Field, Loading } from '../ui/parts.js'
import { useDebounced } from '../ui/use-debounced.js'
import { DataFile } from './data-file.js'

const pattern = '[a-z0-9][a-z0-9._\\-]{0,63}'

const idOf = ({ name }: File): string =>
  name
    .toLowerCase()
    .replace(/(\.[a-z0-9]+){1,2}$/, '')
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, '')
    .slice(0, 64)

export function NewTask({ file: dropped, onClose }: { readonly file?: File; readonly onClose: () => void }) {
  const [file, setFile] = useState(dropped)
  const [id, setId] = useState(dropped ? idOf(dropped) : '')
  // Each id is a place of its own on the server, where the file is checked.
  const settled = useDebounced(id, 400)
  const valid = new RegExp(`^${pattern}$`).test(id)
  const choose = (chosen: File) => {
    setFile(chosen)
    if (id === '') setId(idOf(chosen))
  }
  const learn = async (_posted: PostedExamples, problemType: string | undefined) => {
    await call<Job>('POST', path('tasks', id, 'learn'), {
      json: { ...(problemType !== undefined && { problem_type: problemType }) },
    })
    onClose()
    go(['tasks', id, 'learn'])
  }
  return (
    <Dialog title="New task" onClose={onClose} wide>
      <Field
        label="Id of the task"
        hint="Small letters, digits, dots, hyphens and underscores. Programs use it in addresses."
      >
        {(props) => (
          <input
            {...props}
            value={id}
            pattern={pattern}
            required
            spellcheck={false}
            autocomplete="off"
            onInput={({ currentTarget }) => setId(currentTarget.value)}
          />
        )}
      </Field>
      {file && valid && settled !== id && <Loading what="what is in the file" />}
      {file && valid && settled === id && (
        <DataFile
          key={id}
          id={id}
          file={file}
          action={(examples) => (examples > 0 ? `Add ${plural(examples, 'example')} and learn` : 'Add and learn')}
          onDone={learn}
          onCancel={onClose}
        />
      )}
      {!(file && valid) && (
        <Dropzone
          title={file ? file.name : 'Drop a file with examples, or choose one'}
          hint="The server shows what it finds before anything is stored"
          onFile={choose}
        />
      )}
    </Dialog>
  )
}
