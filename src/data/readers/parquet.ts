// Reads Parquet files, one row group at a time, and only the columns in use. The label names that Hugging Face datasets
// stores in a file are found.

import { open } from 'node:fs/promises'
import { type AsyncBuffer, type FileMetaData, parquetMetadataAsync, parquetScan, parquetSchema } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { type DataFile, startsWith } from '../data-file.js'
import { throwInvalidData } from '../invalid-data.js'
import type { FileRow, RowReader, RowSource, RowsOptions } from '../row-reader.js'

export const parquetReader: RowReader = {
  extensions: ['.parquet'],
  recognises: () => true,
  open: openParquet,
}

/** Limits the memory for the columns in use of a row group, uncompressed, in bytes. */
const defaultGroupBytes = 1 << 29

async function openParquet({ path, head, bytes }: DataFile): Promise<RowSource> {
  if (!startsWith(head, 'PAR1'))
    return throwInvalidData(path, 'this is not a Parquet file, because it does not begin with PAR1')
  const metadata = await readMetadata(path, bytes)
  const columns = parquetSchema(metadata).children.map(({ element }) => element.name)
  return {
    format: 'Parquet',
    columns,
    labelNames: storedLabelNames(metadata),
    rows: (options) => groupRows(path, bytes, metadata, columns, options),
  }
}

async function readMetadata(path: string, bytes: number): Promise<FileMetaData> {
  const { buffer, close } = await bufferOf(path, bytes)
  try {
    return await parquetMetadataAsync(buffer)
  } catch (error) {
    return throwInvalidData(path, `the Parquet file cannot be read: ${(error as Error).message}`)
  } finally {
    await close()
  }
}

async function bufferOf(
  path: string,
  byteLength: number,
): Promise<{ buffer: AsyncBuffer; close: () => Promise<void> }> {
  const handle = await open(path)
  return {
    buffer: {
      byteLength,
      slice: async (start, end = byteLength) => {
        const bytes = new Uint8Array(Math.max(0, Math.min(end, byteLength) - start))
        const { bytesRead } = await handle.read(bytes, 0, bytes.byteLength, start)
        if (bytesRead < bytes.byteLength) throw new Error('the file ends early')
        return bytes.buffer
      },
    },
    close: () => handle.close(),
  }
}

/** The compressors, with a limit for what a page claims to contain. */
const boundedCompressors = (maxBytes: number) =>
  Object.fromEntries(
    Object.entries(compressors).map(([codec, decompress]) => [
      codec,
      (input: Uint8Array, outputLength: number) => {
        if (outputLength > maxBytes) throw new Error(`a page has ${outputLength} bytes uncompressed`)
        return decompress(input, outputLength)
      },
    ]),
  )

async function* groupRows(
  path: string,
  bytes: number,
  metadata: FileMetaData,
  columns: readonly string[],
  { columns: wanted = columns, maxGroupBytes = defaultGroupBytes }: RowsOptions,
): AsyncGenerator<FileRow> {
  const used = columns.filter((column) => wanted.includes(column))
  const { buffer, close } = await bufferOf(path, bytes)
  const bounded = boundedCompressors(maxGroupBytes)
  try {
    let first = 0
    for (const group of metadata.row_groups) {
      const rows = Number(group.num_rows)
      const size = group.columns.reduce((sum, { meta_data: meta }) => {
        const column = meta?.path_in_schema[0]
        return sum + (column !== undefined && used.includes(column) ? Number(meta?.total_uncompressed_size ?? 0) : 0)
      }, 0)
      if (size > maxGroupBytes || rows > maxGroupBytes / 8)
        throwInvalidData(
          path,
          `the row group that begins at row ${first + 1} has ${size} bytes in the columns in use; ` +
            `the limit is ${maxGroupBytes}. Write the file with smaller row groups`,
        )
      const values = await readGroup(path, buffer, metadata, bounded, used, first, rows)
      for (let row = 0; row < rows; row++) {
        const named: Record<string, unknown> = {}
        for (const [at, column] of used.entries()) named[column] = plain(values[at]?.[row])
        yield { place: `${path}: row ${first + row + 1}`, values: named }
      }
      first += rows
    }
  } finally {
    await close()
  }
}

async function readGroup(
  path: string,
  file: AsyncBuffer,
  metadata: FileMetaData,
  bounded: typeof compressors,
  columns: readonly string[],
  first: number,
  rows: number,
): Promise<readonly ArrayLike<unknown>[]> {
  if (rows === 0) return []
  try {
    // A scan keeps the columns that it has read, so that each group has its own.
    const scan = await parquetScan({ file, metadata, columns: [...columns], compressors: bounded })
    return await Promise.all(
      columns.map((column) => scan.readColumn({ column, rowStart: first, rowEnd: first + rows })),
    )
  } catch (error) {
    return throwInvalidData(
      path,
      `the row group that begins at row ${first + 1} cannot be read: ${(error as Error).message}`,
    )
  }
}

/** Values as other formats have them: 64-bit integers as numbers or, if these are not exact, as digits. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint')
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : String(value)
  if (Array.isArray(value)) return value.map(plain)
  if (ArrayBuffer.isView(value) && !(value instanceof DataView))
    return Array.from(value as unknown as Iterable<unknown>, plain)
  return value
}

/** Label names of columns of the type ClassLabel, which Hugging Face datasets writes into the file as JSON. */
function storedLabelNames({ key_value_metadata: stored = [] }: FileMetaData): Record<string, readonly string[]> {
  const text = stored.find(({ key }) => key === 'huggingface')?.value
  const found: Record<string, readonly string[]> = {}
  try {
    const { info } = JSON.parse(text ?? '{}') as { info?: { features?: Record<string, Feature> } }
    for (const [column, feature] of Object.entries(info?.features ?? {})) {
      const names = feature.names ?? feature.feature?.names
      if (Array.isArray(names) && names.every((name) => typeof name === 'string')) found[column] = names
    }
  } catch {
    // The names are a convenience: without them, labels are numbers.
  }
  return found
}

interface Feature {
  readonly names?: readonly string[]
  readonly feature?: { readonly names?: readonly string[] }
}
