/** @fileoverview Certificates made for a test, by the openssl command. Keys are EC P-256. */

import {execFile} from 'node:child_process';
import {copyFile, mkdtemp, readFile, rename, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {promisify} from 'node:util';

const openssl = (...args) => promisify(execFile)('openssl', args);
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];

/** A folder for them. */
export class CertificateFolder {
  static async make() {
    const folder = new CertificateFolder();
    folder.path_ = await mkdtemp(join(tmpdir(), 'node-client-certificates-'));
    return folder;
  }

  file(name) {
    return join(this.path_, name);
  }

  /** A CA of its own. */
  async authority(name) {
    const ca = {certificate: this.file(`${name}.pem`), key: this.file(`${name}.key`)};
    await openssl('req', '-x509', ...NEW_KEY, '-subj', `/CN=${name}`, '-days', '2',
        '-addext', 'keyUsage=critical,keyCertSign', '-keyout', ca.key, '-out', ca.certificate);
    return ca;
  }

  /** @return {!Promise<{cert: string, key: string}>} paths; for `days` from now */
  async issue(ca, name, {dns = [], ips = [], days = 1} = {}) {
    const files = {cert: this.file(`${name}.pem`), key: this.file(`${name}.key`)};
    const request = this.file(`${name}.csr`);
    const extensions = this.file(`${name}.cnf`);
    const names = [...dns.map((dns) => `DNS:${dns}`), ...ips.map((ip) => `IP:${ip}`)].join(',');
    await writeFile(extensions, names === '' ? '' : `subjectAltName=${names}\n`);
    await openssl('req', ...NEW_KEY, '-subj', `/CN=${name}`, '-keyout', files.key, '-out', request);
    await openssl('x509', '-req', '-in', request, '-CA', ca.certificate, '-CAkey', ca.key,
        '-days', String(days), '-extfile', extensions, '-out', files.cert);
    return files;
  }

  remove() {
    return rm(this.path_, {recursive: true, force: true});
  }
}

/** Puts a file in another's place at once, as what rotates certificates does. */
export async function replaceFile(path, by) {
  await copyFile(by, `${path}.new`);
  await rename(`${path}.new`, path);
}

/** @return {!Promise<!Buffer>} */
export const contents = (path) => readFile(path);
