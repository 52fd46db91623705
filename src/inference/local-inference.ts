// Inference in this process: the dispatcher, and the rate limits that are charged for its work.

import { DutyCycle } from '../costs/duty-cycle.js'
import type { RowResult } from '../engine/engine.js'
import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { Caller, Demand } from '../scheduler/admission.js'
import type { Dispatcher } from '../scheduler/dispatcher.js'
import type { Submission } from '../scheduler/submission.js'
import type { RateStatus, Rates } from '../tenants/rates.js'
import { defaults } from '../tenants/tenant.js'
import type { CheckOptions, Inference, InferenceOptions, Payer } from './inference.js'

/** Who rows in the background are computed for: all of them share one small weight. No tenant can have this id. */
const backgroundCaller = { tenant: '~background', weight: 0.001, background: true }

/** Most of the time that work in the background takes. */
const backgroundShare = 0.1

export interface LocalInferenceParts {
  /** Throws Problem `not_ready` while the engines start. */
  readonly dispatcher: () => Dispatcher
  readonly rates: Rates
  /** Called with the tokens of admitted work of a tenant. */
  readonly onTokens?: (tenant: Owner, tokens: number) => void
}

export class LocalInference implements Inference {
  readonly #background = new DutyCycle(backgroundShare)

  constructor(readonly parts: LocalInferenceParts) {}

  takeRequest({ tenant }: Payer): void {
    if (tenant) this.parts.rates.take(tenant, 'requests', 1)
  }

  check(payer: Payer, demand: Demand, { deadline, background }: CheckOptions): void {
    const { dispatcher, rates } = this.parts
    if (background) {
      this.#checkBackground(payer)
      return
    }
    if (payer.tenant) rates.take(payer.tenant, 'tokens', 0)
    if (demand.byTask.size > 0) dispatcher().check(callerOf(payer, deadline), demand)
  }

  async submit(payer: Payer, rows: readonly Submission[], options: InferenceOptions): Promise<RowResult[]> {
    if (!options.background) return this.#submit(payer, rows, options)
    this.#checkBackground(payer)
    return this.#background.run(() => this.#submit(payer, rows, options))
  }

  #submit(payer: Payer, rows: readonly Submission[], options: InferenceOptions): Promise<RowResult[]> {
    const { dispatcher, rates, onTokens } = this.parts
    const { tenant } = payer
    const { background, deadline, signal } = options
    return dispatcher().submit(rows, {
      ...(background ? { ...backgroundCaller, deadline } : callerOf(payer, deadline)),
      ...(signal && { signal }),
      ...(tenant && {
        onAdmitted: () => {
          const tokens = rows.reduce((sum, { row, cost }) => sum + (cost ?? row.inputIds.length), 0)
          rates.take(tenant, 'tokens', tokens)
          onTokens?.(tenant.id, tokens)
        },
        onRefund: (cost) => rates.giveBack(tenant, 'tokens', cost),
      }),
    })
  }

  statuses({ tenant }: Payer): readonly RateStatus[] {
    return tenant ? this.parts.rates.statuses(tenant) : []
  }

  /** @throws Problem `overloaded` */
  #checkBackground(payer: Payer): void {
    if (!this.#background.free || this.parts.dispatcher().queuedRows > 0)
      throw new Problem(
        'overloaded',
        'the server has other work, and work in the background takes a small part of the time',
      )
    const tokens = this.statuses(payer).find(({ rate }) => rate === 'tokens')
    if (tokens !== undefined && tokens.remaining < tokens.quota / 2)
      throw new Problem('overloaded', 'less than half of the rate of tokens is left, which requests may need')
  }
}

const callerOf = ({ owner, tenant }: Payer, deadline: number): Caller => ({
  tenant: owner,
  weight: (tenant ?? defaults).share,
  deadline,
})
