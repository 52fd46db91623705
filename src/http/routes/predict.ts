// The routes of predictions: with one task, or with several.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Static } from 'typebox'
import type { Inference } from '../../inference/inference.js'
import { Problem } from '../../problem.js'
import { type Demand, nothing, oneToken } from '../../scheduler/admission.js'
import type { PredictionInput } from '../../tasks/inputs.js'
import type { Predicted } from '../../tasks/predictor.js'
import type { Access } from '../../tenants/access.js'
import { afterResponse, disconnectSignal } from '../after-response.js'
import { callerOf } from '../callers.js'
import { sendLarge, smallResponseValues } from '../large-responses.js'
import { problemResponses, responseOf } from '../schemas/common.js'
import {
  predictManyRequest,
  predictManyResponse,
  predictParams,
  predictRequest,
  predictResponse,
  timeoutHeaders,
} from '../schemas/predictions.js'
import { versionQuery } from '../schemas/tasks.js'
import type { Lifecycle, PredictionServices } from '../services.js'

export interface PredictLimits {
  readonly maxInputs: number
  readonly requestTimeoutMs: number
}

export interface PredictRoutesOptions {
  readonly access: Access
  readonly lifecycle: Lifecycle<PredictionServices>
  readonly inference: Inference
  readonly limits: PredictLimits
}

export const predictRoutes =
  ({ access, lifecycle, inference, limits }: PredictRoutesOptions): FastifyPluginAsyncTypebox =>
  async (app) => {
    /**
     * Under load most requests are rejected here, which must be cheap. It also rejects a tenant over its rate of tokens before
     * anything is computed.
     */
    const checkFirst = async (demand: Demand, request: FastifyRequest, reply: FastifyReply): Promise<void> => {
      if (lifecycle.current) await inference.check(callerOf(request), demand, { deadline: deadlineOf(request, reply) })
    }

    const predict = async <T extends object>(
      inputs: readonly PredictionInput[],
      body: Pick<Static<typeof predictRequest>, 'top_k' | 'raw_scores' | 'threshold' | 'truncate'>,
      request: FastifyRequest,
      reply: FastifyReply,
      toResponse: (predicted: readonly Predicted[]) => T,
    ): Promise<T> => {
      const { predictor, shadows, costs } = lifecycle.services
      if (inputs.length > limits.maxInputs)
        throw new Problem(
          'too_many_inputs',
          `the request has ${inputs.length} inputs; send at most ${limits.maxInputs}, in several requests if needed`,
          {
            inputs: inputs.length,
            limit: limits.maxInputs,
          },
        )
      const caller = callerOf(request)
      const signal = disconnectSignal(reply)
      const options = {
        account: { ...caller, checkAgain: () => access.checkAgain(caller) },
        topK: body.top_k,
        rawScores: body.raw_scores ?? false,
        threshold: body.threshold,
        truncate: body.truncate ?? true,
        deadline: deadlineOf(request, reply),
        requestId: request.id,
        signal,
      }
      const { predicted, shadowed, cost, holding } = await predictor.predict(inputs, options)
      afterResponse(reply, holding.release)
      if (shadowed.length > 0) afterResponse(reply, () => shadows.compare(shadowed, options))
      const response = toResponse(predicted)
      return cost.values < smallResponseValues ? response : sendLarge(reply, costs.work, caller.owner, response, signal)
    }

    /** The timeout of the server or of the client, whichever is shorter, from the arrival of the request. */
    const deadlineOf = (request: FastifyRequest, reply: FastifyReply): number => {
      const asked = Number(request.headers['x-request-timeout-ms'])
      // The schema rejects other values later.
      const timeoutMs =
        Number.isInteger(asked) && asked > 0 ? Math.min(asked, limits.requestTimeoutMs) : limits.requestTimeoutMs
      return performance.now() - reply.elapsedTime + timeoutMs
    }

    app.post(
      '/tasks/:id/predict',
      {
        schema: {
          operationId: 'predict',
          tags: ['predictions'],
          summary: 'Predicts with one task, for one or several texts',
          params: predictParams,
          querystring: versionQuery,
          headers: timeoutHeaders,
          body: predictRequest,
          response: {
            200: responseOf(predictResponse, 'The predictions'),
            ...problemResponses(400, 401, 404, 409, 413, 415, 422, 429, 503, 504),
          },
        },
        onRequest: (request, reply) => checkFirst(oneToken(request.params.id), request, reply),
      },
      async (request, reply) => {
        const { inputs } = request.body
        const task = request.params.id
        const chosen = { task, ...choiceOf(request.query.version) }
        const list = (Array.isArray(inputs) ? inputs : [inputs]).map(
          (input): PredictionInput =>
            typeof input === 'string'
              ? { ...chosen, text: input }
              : { ...chosen, ...textOf(input.text, input.text_pair) },
        )
        return predict(list, request.body, request, reply, (predicted) => ({
          task,
          version: predicted[0]?.version ?? '',
          predictions: predicted.map(servedPrediction),
        }))
      },
    )

    app.post(
      '/predict',
      {
        schema: {
          operationId: 'predictMany',
          tags: ['predictions'],
          summary: 'Predicts with several tasks in one request, each text with its task',
          headers: timeoutHeaders,
          body: predictManyRequest,
          response: {
            200: responseOf(predictManyResponse, 'The predictions'),
            ...problemResponses(400, 401, 404, 409, 413, 415, 422, 429, 503, 504),
          },
        },
        onRequest: (request, reply) => checkFirst(nothing, request, reply),
      },
      async (request, reply) => {
        const list = request.body.inputs.map(
          (input): PredictionInput => ({
            task: input.task,
            ...choiceOf(input.version),
            ...textOf(input.text, input.text_pair),
          }),
        )
        return predict(list, request.body, request, reply, (predicted) => ({
          predictions: predicted.map((each) => ({
            task: each.task,
            version: each.version,
            ...servedPrediction(each),
          })),
        }))
      },
    )
  }

const servedPrediction = ({ prediction, truncated }: Predicted) =>
  truncated ? { ...prediction, truncated } : prediction

const choiceOf = (version: number | undefined) => (version === undefined ? {} : { version })

const textOf = (text: string, textPair: string | undefined) => ({ text, ...(textPair !== undefined && { textPair }) })
