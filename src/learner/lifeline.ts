// A thread of a learner that ends the process when the server ends, however that happens.

import { Socket } from 'node:net'
import { lifelineFd } from './messages.js'

// The server holds the other end of the pipe and never writes to it.
new Socket({ fd: lifelineFd }).resume().on('close', () => process.kill(process.pid, 'SIGKILL'))
