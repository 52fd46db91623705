#!/usr/bin/env node
// Where `propetl` begins. A server gets its signals from the first moment on: everything that takes long to load is
// imported behind their listeners.

import { listenToSignals } from './signals.js'

if (process.argv[2] === 'serve') listenToSignals()
await import('./commands/program.js')
