// Makes the OpenAPI document from the schemas of the routes. `npm run generate` writes it to openapi/openapi.json.

import { readConfig } from '../config.js'
import { openCosts } from '../costs/costs.js'
import { LocalInference } from '../inference/local-inference.js'
import { singleUser } from '../tenants/access.js'
import { Rates } from '../tenants/rates.js'
import { buildApp } from './app.js'
import { Metrics } from './metrics.js'
import { Lifecycle } from './services.js'

export async function describeApi(): Promise<string> {
  const lifecycle = new Lifecycle()
  const config = readConfig({}, {})
  const app = await buildApp({
    config,
    costs: openCosts(config),
    lifecycle,
    metrics: new Metrics(lifecycle, 0),
    access: singleUser,
    inference: new LocalInference({ dispatcher: () => lifecycle.services.dispatcher, rates: new Rates() }),
  })
  await app.ready()
  const document = app.swagger()
  await app.close()
  return `${JSON.stringify(document, null, 2)}\n`
}
