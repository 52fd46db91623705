// Every command of the README and of docs/getting-started.md works as written.

import { testCommandsOf } from './run-page.js'

testCommandsOf('README.md')
testCommandsOf('docs/getting-started.md')
