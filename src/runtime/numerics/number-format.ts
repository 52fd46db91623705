// A number format as a change of the serving graph. Each file of this folder is one format.

import type { Backbone } from '../../backbones/backbone.js'
import type { Graph } from '../../graph/graph.js'
import type { Pass } from '../../graph/passes/rewrite.js'
import type { Prototype } from '../../petl/prototype.js'
import type { GraphTraits } from '../serving-graph.js'

/** How the graph depends on the execution provider. */
export interface ProviderTraits extends GraphTraits {
  /** Whether it has an operator that multiplies by a transposed matrix. */
  readonly fusesTransposed: boolean
}

/** What a format can choose its passes by. */
export interface ServedModel {
  /** Before the passes. */
  readonly graph: Graph
  readonly backbone: Backbone
  /** Undefined for a bare backbone. */
  readonly prototype: Prototype | undefined
  /** Intra-operator threads of the CPU provider; 0 leaves the choice to onnxruntime. */
  readonly threads: number
}

export interface NumberFormat {
  /** What the graph is built with, if not the traits of the provider. */
  readonly traits?: GraphTraits
  /** The passes that turn the serving graph into a graph of this format. */
  readonly passes: (provider: ProviderTraits, model: ServedModel) => readonly Pass[] | Promise<readonly Pass[]>
  /**
   * Whether usual batches, in which all rows have a module and no row needs hidden states, have a graph of their own. It
   * has fewer operators, but its weights take memory too.
   */
  readonly hasUsualGraph: boolean
  /**
   * Whether results can overflow. Rows that overflow are then computed again in float32, and `auto` takes the format only if
   * a check at start finds it accurate.
   */
  readonly overflows: boolean
}
