// The OpenAPI document, made from the routes' schemas. openapi/openapi.json is this text.

import { settings } from '../config.js'
import { buildApp } from './app.js'
import { Metrics } from './metrics.js'
import { Lifecycle } from './services.js'

export async function describeApi(): Promise<string> {
  const lifecycle = new Lifecycle()
  const config = {
    maxBodyBytes: settings.maxBodyBytes.value,
    maxUploadBytes: settings.maxUploadBytes.value,
    maxInputs: settings.maxInputs.value,
    requestTimeoutMs: settings.requestTimeoutMs.value,
  }
  const app = await buildApp({ config, lifecycle, metrics: new Metrics(lifecycle) })
  await app.ready()
  const document = app.swagger()
  await app.close()
  return `${JSON.stringify(document, null, 2)}\n`
}
