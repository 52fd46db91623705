// Builds the console into dist/console. The page is index.html; everything that it loads is under console/ with a hash of
// its content in its name. Each file is also written in compressed forms, so that the server only has to send them.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, gzipSync, constants as zlib } from 'node:zlib'
import { defineConfig, type Plugin } from 'vite'

const outDir = '../dist/console'

/** Smaller files gain nothing from compression. */
const leastBytes = 1_000

const compress: Plugin = {
  name: 'compress',
  apply: 'build',
  closeBundle() {
    for (const path of readdirSync(outDir, { recursive: true, encoding: 'utf8' })) {
      if (!/\.(html|js|css)$/.test(path)) continue
      const file = join(outDir, path)
      const content = readFileSync(file)
      if (content.byteLength < leastBytes) continue
      writeFileSync(`${file}.gz`, gzipSync(content, { level: zlib.Z_BEST_COMPRESSION }))
      writeFileSync(`${file}.br`, brotliCompressSync(content))
    }
  },
}

/** While developing, the API is that of a server on this address. */
const server = process.env.PROPETL_SERVER ?? 'http://127.0.0.1:8080'
const routes = ['/tasks', '/predict', '/jobs', '/tenants', '/health', '/metrics', '/docs']

export default defineConfig({
  // Relative, because a proxy may serve the console under a path.
  base: './',
  build: {
    outDir,
    emptyOutDir: true,
    assetsDir: 'console',
    // A data: URL in a style sheet would need an exception in the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    reportCompressedSize: false,
  },
  server: { proxy: Object.fromEntries(routes.map((route) => [route, server])) },
  plugins: [compress],
})
