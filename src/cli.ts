#!/usr/bin/env node
// The entry point of `propetl`. It listens for signals before it imports modules that take long to load, so that a
// server handles signals from the start.

import { listenToSignals } from './signals.js'

if (process.argv[2] === 'serve') listenToSignals()
await import('./commands/program.js')
