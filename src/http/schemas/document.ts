// The frame of the OpenAPI document. The routes fill it.

import { version } from '../../package.js'

export const openapiDocument = {
  openapi: '3.1.0' as const,
  info: {
    title: 'propetl',
    version,
    description:
      'Serves many small text classifiers on one frozen transformer. All tasks share one module; each task is a file of a ' +
      'few kilobytes with its own mask. Errors are application/problem+json with a stable `code`.',
    license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
  },
  components: {
    securitySchemes: {
      key: {
        type: 'http' as const,
        scheme: 'bearer',
        description: 'API key of a tenant or of the operator. A server without API keys needs none.',
      },
    },
  },
  security: [{ key: [] }],
  tags: [
    { name: 'predictions', description: 'Send texts; get labels, values or vectors' },
    { name: 'tasks', description: 'A task is a file: a mask over the shared module, and in most cases a head' },
    {
      name: 'versions',
      description: 'Every upload and every job makes a version of a task. One is active; the last ones are kept.',
    },
    { name: 'examples', description: 'Labelled texts, which a task is trained on, and corrections of predictions' },
    { name: 'jobs', description: 'A job trains a task from its examples, in a process of its own' },
    { name: 'suggestions', description: 'Texts of recent requests that are worth labelling, if a task keeps them' },
    { name: 'tenants', description: 'Tenants with their limits and API keys. Each tenant sees only its own tasks.' },
    { name: 'operation', description: 'Health and metrics' },
  ],
}
