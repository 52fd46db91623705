// Whose a task, an API key or a piece of work is. Queues and limits compare owners and know nothing else of tenants.

/** A tenant's id, or one of the reserved names that no tenant may have, such as `operator`. */
export type Owner = string
