'use strict'

// Owns what package.json, package-lock.json and npm/ say about the platform packages, so that the three cannot drift
// apart. `napi.targets` and `version` in package.json are the source; everything else is written from them.
//
// The lock file gets its entries by hand, because npm leaves an optional dependency out of the lock while it is not
// published yet, and `npm ci` then refuses the pair. With an entry it tries, finds nothing and goes on.
//
//   node scripts/platforms.js            writes
//   node scripts/platforms.js --check    only tells what is not current, exit code 1
//   … --check --binaries                 and which platform package has no binary in it, before publishing

const fs = require('node:fs')
const path = require('node:path')

const root = path.join(__dirname, '..')
const OPERATING_SYSTEMS = { linux: 'linux', apple: 'darwin', pc: 'win32' }
const PROCESSORS = { x86_64: 'x64', aarch64: 'arm64' }
const LIBC = { gnu: 'glibc', musl: 'musl' }

/** What npm and Node call the target that Rust calls `triple`. */
function platformOf(triple) {
  const [processor, vendor, system, abi] = triple.split('-')
  const os = OPERATING_SYSTEMS[vendor] ?? OPERATING_SYSTEMS[system]
  const cpu = PROCESSORS[processor]
  return {
    triple,
    os,
    cpu,
    libc: LIBC[os === 'linux' ? abi : ''],
    id: [os, cpu, abi].filter(Boolean).join('-'),
  }
}

/** What npm needs to know to install a platform package only where it fits. */
function constraints({ os, cpu, libc }) {
  return { cpu: [cpu], ...(libc && { libc: [libc] }), os: [os] }
}

function platformPackage(main, platform) {
  const binary = `${main.napi.binaryName}.${platform.id}.node`
  return {
    name: `${main.napi.packageName}-${platform.id}`,
    version: main.version,
    description: `The ${platform.id} binary of ${main.name}`,
    license: main.license,
    author: main.author,
    repository: main.repository,
    main: binary,
    files: [binary],
    engines: main.engines,
    ...constraints(platform),
    publishConfig: main.publishConfig,
  }
}

function readme(main, platform) {
  return [
    `# ${main.napi.packageName}-${platform.id}`,
    '',
    `The **${platform.triple}** binary of \`${main.name}\`.`,
    `It is installed with \`${main.name}\` where it fits and is of no use alone.`,
    '',
  ].join('\n')
}

function lockEntries(main, platforms) {
  return platforms.map((platform) => [
    `node_modules/${main.napi.packageName}-${platform.id}`,
    {
      version: main.version,
      ...constraints(platform),
      license: main.license,
      optional: true,
      engines: main.engines,
    },
  ])
}

function lockFile(main, lock, platforms) {
  const prefix = `node_modules/${main.napi.packageName}-`
  const { '': self, ...rest } = lock.packages
  const others = Object.entries(rest).filter(([name]) => !name.startsWith(prefix))
  const sorted = [...others, ...lockEntries(main, platforms)].toSorted(([a], [b]) => a.localeCompare(b, 'en'))
  const root = { ...self, version: main.version, optionalDependencies: main.optionalDependencies }
  return { ...lock, version: main.version, packages: { '': root, ...Object.fromEntries(sorted) } }
}

const json = (value) => `${JSON.stringify(value, null, 2)}\n`
const read = (name) => JSON.parse(fs.readFileSync(path.join(root, name), 'utf8'))

/** Every file that depends on the list of platforms, with the text it should have. */
function wanted() {
  const main = read('package.json')
  const platforms = main.napi.targets.map(platformOf)
  main.optionalDependencies = Object.fromEntries(
    platforms.map(({ id }) => [`${main.napi.packageName}-${id}`, main.version]).toSorted(),
  )
  const files = [
    ['package.json', json(main)],
    ['package-lock.json', json(lockFile(main, read('package-lock.json'), platforms))],
  ]
  for (const platform of platforms) {
    files.push([`npm/${platform.id}/package.json`, json(platformPackage(main, platform))])
    files.push([`npm/${platform.id}/README.md`, readme(main, platform)])
  }
  return files
}

function isCurrent([name, text]) {
  const file = path.join(root, name)
  return fs.existsSync(file) && fs.readFileSync(file, 'utf8') === text
}

/** The binaries that the platform packages name and do not hold. */
function missingBinaries() {
  const folders = fs.readdirSync(path.join(root, 'npm')).map((id) => `npm/${id}`)
  const binaries = folders.map((folder) => `${folder}/${read(`${folder}/package.json`).main}`)
  return binaries.filter((name) => !fs.existsSync(path.join(root, name)))
}

const stale = wanted().filter((file) => !isCurrent(file))
if (process.argv.includes('--check')) {
  const missing = process.argv.includes('--binaries') ? missingBinaries() : []
  for (const [name] of stale)
    console.error(`${name} is not what scripts/platforms.js would write; run: npm run platforms`)
  for (const name of missing) console.error(`${name} is missing; run: npm run artifacts`)
  process.exitCode = stale.length + missing.length > 0 ? 1 : 0
} else {
  for (const [name, text] of stale) {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true })
    fs.writeFileSync(path.join(root, name), text)
    console.log(`wrote ${name}`)
  }
}
