// The methods of learning by name, apart from what they do: the command line names them before it loads any of it.

/**
 * `multi`: one prototype, a mask a layer and a mask a task, combined. `single`: one prototype and a mask a layer, for
 * one task. `plain`: weights of its own in every layer, for one task. `head`: no module at all, for one task.
 */
export const methods = ['multi', 'single', 'plain', 'head'] as const
export type Method = (typeof methods)[number]
