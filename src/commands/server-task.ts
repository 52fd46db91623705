// A task on a server.

import type { ServedPrediction } from '../learn/served-predictions.js'
import { type ProblemType, problemTypes } from '../petl/task.js'
import { Problem, reasonOf } from '../problem.js'
import type { OpenedTask } from './opened-task.js'

/** The API key comes from the environment, because other users of the machine can see command lines. */
const keyVariable = 'PROPETL_KEY'

/** @throws Problem `invalid_setting`, `server_failed` */
export async function openServerTask(url: string): Promise<OpenedTask> {
  if (!URL.canParse(url))
    throw new Problem(
      'invalid_setting',
      `${url} is not a valid URL; expected one like http://localhost:8080/tasks/reviews`,
    )
  const address = url.replace(/\/$/, '')
  const description = (await fetchJson(address)) as { problem_type: ProblemType; labels: string[]; threshold?: number }
  const { problem_type: problem, labels, threshold } = description
  if (!problemTypes.includes(problem))
    throw new Problem(
      'server_failed',
      `${address} is not a task; expected a URL like http://localhost:8080/tasks/reviews`,
    )
  return {
    space: { problem, labels, ...(threshold !== undefined && { threshold }) },
    maxTexts: 32,
    predict: async (texts) => {
      const inputs = texts.map(({ text, textPair }) => ({
        text,
        ...(textPair !== undefined && { text_pair: textPair }),
      }))
      const response = await fetchJson(`${address}/predict`, { inputs, raw_scores: true })
      return (response as { predictions: ServedPrediction[] }).predictions
    },
    close: async () => {},
  }
}

/** @throws Problem `server_failed` */
async function fetchJson(address: string, body?: unknown): Promise<unknown> {
  const key = process.env[keyVariable]
  const headers: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` }
  const response = await fetch(
    address,
    body === undefined
      ? { headers }
      : { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) },
  ).catch((error: Error) => {
    throw new Problem(
      'server_failed',
      `no server responds at ${address}: ${reasonOf(error.cause ?? error)}. Check the address and that the server is running.`,
    )
  })
  const text = await response.text()
  if (response.status === 401)
    throw new Problem(
      'server_failed',
      key === undefined
        ? `${address} requires an API key; set it in the environment variable ${keyVariable}`
        : `${address} rejects the API key in the environment variable ${keyVariable}: it is unknown, expired or revoked`,
    )
  if (!response.ok)
    throw new Problem('server_failed', `${address} responded with ${response.status}: ${detailOf(text)}`)
  try {
    return JSON.parse(text)
  } catch {
    throw new Problem(
      'server_failed',
      `${address} did not respond with JSON; expected a URL like http://localhost:8080/tasks/reviews`,
    )
  }
}

/** The detail of an error response of a propetl server, or the beginning of any other response. */
function detailOf(text: string): string {
  try {
    const { detail } = JSON.parse(text) as { detail?: unknown }
    if (typeof detail === 'string') return detail
  } catch {
    // The response is not JSON.
  }
  return text.slice(0, 300)
}
