// Every command of examples/README.md works as written.

import { testCommandsOf } from './run-page.js'

testCommandsOf('examples/README.md')
