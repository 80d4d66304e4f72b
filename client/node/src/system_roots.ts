import {existsSync} from 'node:fs';
import * as tls from 'node:tls';

/** Where systems keep the certificates of all CAs that they trust. */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',  // Debian, Ubuntu, Alpine
  '/etc/pki/tls/certs/ca-bundle.crt',  // Fedora, Red Hat
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',  // Red Hat
  '/etc/ssl/ca-bundle.pem',  // SUSE
  '/etc/ssl/cert.pem',  // FreeBSD, OpenBSD
];

/** The file that SSL_CERT_FILE names, else the system's own; null where there is none. */
export function systemRootsFile(): string | null {
  const named = process.env['SSL_CERT_FILE'];
  if (named) return named;
  // They keep them elsewhere than in files.
  if (process.platform === 'win32' || process.platform === 'darwin') return null;
  return BUNDLES.find((file) => existsSync(file)) ?? null;
}

/** Where there is no file: what Node knows of the system's; undefined = Node's own. */
export function systemRootsOfNode(): string[] | undefined {
  // Since Node 22.15.
  const {getCACertificates} = tls as {getCACertificates?: (type: string) => string[]};
  const roots = getCACertificates?.('system') ?? [];
  return roots.length > 0 ? roots : undefined;
}
