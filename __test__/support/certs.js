'use strict'

// Certificates made by the openssl command in a folder that goes when the process ends: an authority, a server
// certificate for localhost, a client certificate, and one of an authority nobody trusts.

const { execFileSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { temporaryFolder } = require('./child.js')

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
const NAMES = 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1'

function openssl(folder, ...args) {
  execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
}

function makeAuthority(folder, name) {
  const files = ['-keyout', `${name}.key`, '-out', `${name}.crt`]
  openssl(folder, 'req', '-x509', ...KEY, ...files, '-days', '2', '-subj', `/CN=evenkeel test ${name}`)
}

function makeCertificate(folder, name, authority) {
  openssl(folder, 'req', ...KEY, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`)
  fs.writeFileSync(path.join(folder, `${name}.ext`), `${NAMES}\nbasicConstraints=CA:FALSE\n`)
  const signed = ['-CA', `${authority}.crt`, '-CAkey', `${authority}.key`, '-CAcreateserial', '-days', '2']
  openssl(
    folder,
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    ...signed,
    '-extfile',
    `${name}.ext`,
    '-out',
    `${name}.crt`,
  )
}

function pairIn(folder, name) {
  const file = (ending) => path.join(folder, `${name}.${ending}`)
  return {
    key: fs.readFileSync(file('key'), 'utf8'),
    cert: fs.readFileSync(file('crt'), 'utf8'),
    files: file,
  }
}

/**
 * `authority`, `server`, `client` (of that authority) and `stranger` (an authority that signed none of them), each
 * `{ key, cert, files(ending) }` in PEM.
 */
function makeCertificates() {
  const folder = temporaryFolder('evenkeel-certs')
  makeAuthority(folder, 'authority')
  makeAuthority(folder, 'stranger')
  makeCertificate(folder, 'server', 'authority')
  makeCertificate(folder, 'client', 'authority')
  const names = ['authority', 'stranger', 'server', 'client']
  return Object.fromEntries(names.map((name) => [name, pairIn(folder, name)]))
}

module.exports = { makeCertificates }
