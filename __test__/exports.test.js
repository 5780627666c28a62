'use strict'

// What a service gets that installs the packed packages: everything here runs in an empty folder, offline, from the two
// tarballs alone.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { before, test } = require('node:test')
const { root, runProgram, temporaryFolder } = require('./support/child.js')

const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc')

let service
let packed

async function pack(folder, destination) {
  const words = ['pack', '--json', '--silent', '--pack-destination', destination]
  const { code, stdout, stderr } = await runProgram(npm, words, { cwd: folder })
  assert.equal(code, 0, stderr)
  // npm before 12 answers a list, later ones an object by name
  const [answer] = Object.values(JSON.parse(stdout))
  return { tarball: path.join(destination, answer.filename), files: answer.files.map((file) => file.path) }
}

/** The package of this platform with the binary that was built here in it. */
function platformPackage(destination) {
  const binary = fs.readdirSync(root).find((name) => /^evenkeel\..+\.node$/.test(name))
  assert.ok(binary, 'the addon is built: npm run build')
  const id = binary.split('.')[1]
  const folder = path.join(destination, id)
  fs.cpSync(path.join(root, 'npm', id), folder, { recursive: true })
  fs.copyFileSync(path.join(root, binary), path.join(folder, binary))
  return folder
}

function write(name, text) {
  fs.writeFileSync(path.join(service, name), text)
}

async function node(...args) {
  const { code, stdout, stderr } = await runProgram(process.execPath, args, { cwd: service })
  assert.equal(stderr, '')
  assert.equal(code, 0)
  return stdout.trim()
}

before(async () => {
  const folder = temporaryFolder('evenkeel-service')
  packed = await pack(root, folder)
  const platform = await pack(platformPackage(folder), folder)
  service = path.join(folder, 'service')
  fs.mkdirSync(service)
  write('package.json', '{ "name": "service", "private": true }')
  const words = ['install', '--offline', '--no-audit', '--no-fund', packed.tarball, platform.tarball]
  const { code, stderr } = await runProgram(npm, words, { cwd: service, timeout: 120_000 })
  assert.equal(code, 0, stderr)
})

const USE = `
  const cache = new Cache({ name: 'installed' })
  await cache.set('key', { a: 1n })
  const value = await cache.get('key')
  console.log(typeof value.a, value.a === 1n, new CacheError('ERR_CACHE_KEY', 'x').code)
  await cache.close()
`
const SEEN = 'bigint true ERR_CACHE_KEY'

test('the package holds what is needed at run time and nothing else', () => {
  const expected = [
    'index.js',
    'index.d.ts',
    'binding.js',
    'lib/cache.js',
    'lib/http.js',
    'lib/http.d.ts',
    'LICENSE',
    'README.md',
  ]
  for (const name of expected) assert.ok(packed.files.includes(name), name)
  const strange = packed.files.filter((name) =>
    /\.node$|\.rs$|^(src|__test__|scripts|npm|target|benchmark|examples)\//.test(name),
  )
  assert.deepEqual(strange, [])
})

test('it has no install script and no dependency but the platform packages', () => {
  const { scripts = {}, dependencies, optionalDependencies, version } = require('../package.json')
  for (const name of ['preinstall', 'install', 'postinstall']) assert.equal(scripts[name], undefined)
  assert.equal(dependencies, undefined)
  for (const [name, wanted] of Object.entries(optionalDependencies)) {
    assert.equal(wanted, version)
    const folder = name.replace('@evenkeel/binding-', '')
    assert.equal(require(`../npm/${folder}/package.json`).version, version)
  }
})

test('require finds it', async () => {
  write('use.cjs', `const { Cache, CacheError } = require('evenkeel')\n;(async () => {${USE}})()`)
  assert.equal(await node('use.cjs'), SEEN)
})

test('import finds it, by name', async () => {
  write('use.mjs', `import { Cache, CacheError, escapeGlob, metricsOf } from 'evenkeel'\n${USE}`)
  assert.equal(await node('use.mjs'), SEEN)
})

test('the further entry points are found both ways', async () => {
  write(
    'http.mjs',
    `import { healthHandler, metricsHandler } from 'evenkeel/http'\nconsole.log(typeof healthHandler, typeof metricsHandler)`,
  )
  assert.equal(await node('http.mjs'), 'function function')
  write(
    'http.cjs',
    `console.log(Object.keys(require('evenkeel/http')).join(), require('evenkeel/package.json').version)`,
  )
  assert.equal(await node('http.cjs'), `healthHandler,metricsHandler ${require('../package.json').version}`)
})

test('files that are no entry point stay inside', async () => {
  write('inside.cjs', `try { require('evenkeel/lib/cache.js') } catch (error) { console.log(error.code) }`)
  assert.equal(await node('inside.cjs'), 'ERR_PACKAGE_PATH_NOT_EXPORTED')
})

for (const module of ['node16', 'commonjs']) {
  test(`a TypeScript service compiles against it, strictly, and runs: module ${module}`, async () => {
    const source = `
      import { Cache, CacheError } from 'evenkeel'
      import { healthHandler, metricsHandler } from 'evenkeel/http'
      import { createServer } from 'node:http'
      interface User { id: number; name: string }
      async function main(): Promise<void> {
        const cache = new Cache<{ [key: \`user:\${number}\`]: User }>({ redis: false, l1: { ttl: 60_000 } })
        const user: User = await cache.getOrSet('user:1', async ({ signal }) => ({ id: signal.aborted ? 0 : 1, name: 'Ada' }))
        const again: User | undefined = await cache.get('user:1')
        createServer(healthHandler(cache)).close()
        createServer(metricsHandler(cache)).close()
        try { await new Cache().set('', 1) } catch (error) {
          if (error instanceof CacheError && error.code === 'ERR_CACHE_KEY') console.log(user.name, again?.id)
        }
        await cache.close()
      }
      main()`
    write('service.ts', source)
    const resolution = module === 'node16' ? 'node16' : 'bundler'
    const options = {
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      target: 'es2022',
    }
    const compilerOptions = {
      ...options,
      module,
      moduleResolution: resolution,
      types: ['node'],
      typeRoots: [path.join(root, 'node_modules', '@types')],
      outDir: 'out',
      rootDir: '.',
    }
    write('tsconfig.json', JSON.stringify({ compilerOptions, files: ['service.ts'] }))
    const { code, stdout } = await runProgram(process.execPath, [tsc, '-p', '.'], { cwd: service })
    assert.equal(stdout, '')
    assert.equal(code, 0)
    assert.equal(await node('out/service.js'), 'Ada 1')
  })
}

test('a worker thread finds it', async () => {
  write(
    'worker.cjs',
    `const { Worker } = require('node:worker_threads')\nnew Worker('./use.cjs').on('exit', (code) => console.log(code))`,
  )
  write('use.cjs', `const { Cache, CacheError } = require('evenkeel')\n;(async () => {${USE}})()`)
  assert.equal(await node('worker.cjs'), `${SEEN}\n0`)
})

test('a bundler leaves it outside', async () => {
  write('bundle.mjs', `import { Cache, CacheError } from 'evenkeel'\nasync function main() {${USE}}\nmain()`)
  const { buildSync } = require('esbuild')
  const folders = { absWorkingDir: service, entryPoints: ['bundle.mjs'], outfile: 'out/bundle.cjs' }
  buildSync({ ...folders, bundle: true, platform: 'node', external: ['evenkeel'], logLevel: 'silent' })
  assert.equal(await node('out/bundle.cjs'), SEEN)
})

test('without a binary for the platform the error says which, what to install and how to build one', async () => {
  const folder = temporaryFolder('evenkeel-bare')
  fs.cpSync(path.join(service, 'node_modules', 'evenkeel'), path.join(folder, 'evenkeel'), {
    recursive: true,
  })
  const script = `try { require('./evenkeel') } catch ({ name, code, message }) { console.log(JSON.stringify({ name, code, message })) }`
  const { stdout } = await runProgram(process.execPath, ['-e', script], { cwd: folder })
  const error = JSON.parse(stdout)
  assert.equal(error.name, 'CacheError')
  assert.equal(error.code, 'ERR_CACHE_PLATFORM')
  assert.match(error.message, new RegExp(`${process.platform}-${process.arch}`))
  assert.match(error.message, /@evenkeel\/binding-/)
  assert.match(error.message, /npm run build/)
})

test('EVENKEEL_BINARY names a binary by path', async () => {
  const binary = fs.readdirSync(root).find((name) => /^evenkeel\..+\.node$/.test(name))
  const script = `console.log(typeof require('evenkeel').Cache)`
  const named = { cwd: root, env: { EVENKEEL_BINARY: `./${binary}` } }
  assert.equal((await runProgram(process.execPath, ['-e', script], named)).stdout.trim(), 'function')
  const wrong = `try { require('evenkeel') } catch ({ code, message }) { console.log(code, message) }`
  const { stdout } = await runProgram(process.execPath, ['-e', wrong], {
    cwd: root,
    env: { EVENKEEL_BINARY: 'no-such.node' },
  })
  assert.match(stdout, /^ERR_CACHE_PLATFORM .*no-such\.node/)
})
