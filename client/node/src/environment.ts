import {accessSync, constants} from 'node:fs';

import {invalid} from './errors.js';
import {checkWorkerId} from './names.js';
import type {CircuitBreakerServiceOptions} from './options.js';
import type {TlsOptions} from './tls_credentials.js';
import {checkToken} from './token.js';

/** Where the daemon is, who this worker is, and how it proves that. */
export type EnvironmentOptions = Pick<CircuitBreakerServiceOptions,
    'target' | 'workerId' | 'tls' | 'token' | 'tokenFile' | 'tokenOverPlaintext'>;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * What the environment says: BREAKERD_TARGET, BREAKERD_WORKER_ID, BREAKERD_TLS_CA (by which there
 * is TLS; a file, or 'system'), BREAKERD_TLS_SERVER_NAME, BREAKERD_CLIENT_CERT, BREAKERD_CLIENT_KEY,
 * BREAKERD_TOKEN, BREAKERD_TOKEN_FILE, BREAKERD_TOKEN_OVER_PLAINTEXT (1 or 0). An empty one is as
 * good as none, and what is not there is left out of the options.
 *
 * Throws BreakerdError INVALID_ARGUMENT that names the variable if one is not valid.
 */
export function optionsFromEnvironment(
    environment: Environment = process.env): EnvironmentOptions {
  const value = (name: string) => environment[name] || undefined;
  const options: EnvironmentOptions = {};
  const target = value('BREAKERD_TARGET');
  if (target !== undefined) options.target = target;
  const workerId = value('BREAKERD_WORKER_ID');
  if (workerId !== undefined) {
    checkWorkerId(workerId, 'BREAKERD_WORKER_ID');
    options.workerId = workerId;
  }

  const tls: TlsOptions = {
    ca: file('BREAKERD_TLS_CA', value, 'system'),
    cert: file('BREAKERD_CLIENT_CERT', value),
    key: file('BREAKERD_CLIENT_KEY', value),
    serverName: value('BREAKERD_TLS_SERVER_NAME'),
  };
  if ((tls.cert === undefined) !== (tls.key === undefined)) {
    throw invalid('BREAKERD_CLIENT_CERT, BREAKERD_CLIENT_KEY: there must be both or none');
  }
  if (tls.ca !== undefined) {
    options.tls = tls;
  } else if (tls.cert !== undefined || tls.serverName !== undefined) {
    const name = tls.cert !== undefined ? 'BREAKERD_CLIENT_CERT' : 'BREAKERD_TLS_SERVER_NAME';
    throw invalid(`${name}: needs BREAKERD_TLS_CA, a file or "system", for there to be TLS`);
  }

  const overPlaintext = value('BREAKERD_TOKEN_OVER_PLAINTEXT');
  if (overPlaintext !== undefined && !['0', '1'].includes(overPlaintext)) {
    throw invalid(
        `BREAKERD_TOKEN_OVER_PLAINTEXT: ${JSON.stringify(overPlaintext)} is neither 1 nor 0`);
  }
  if (overPlaintext === '1') options.tokenOverPlaintext = true;
  const token = value('BREAKERD_TOKEN');
  const tokenFile = file('BREAKERD_TOKEN_FILE', value);
  if (token !== undefined && tokenFile !== undefined) {
    throw invalid('BREAKERD_TOKEN, BREAKERD_TOKEN_FILE: there must be one of them at most');
  }
  if (token !== undefined) {
    checkToken(token, 'BREAKERD_TOKEN');
    // So that it is not seen where the options are printed.
    options.token = () => token;
  }
  if (tokenFile !== undefined) options.tokenFile = tokenFile;
  if ((token ?? tokenFile) !== undefined && !options.tls && !options.tokenOverPlaintext) {
    const name = token !== undefined ? 'BREAKERD_TOKEN' : 'BREAKERD_TOKEN_FILE';
    throw invalid(`${name}: without TLS all could read the token on its way; set ` +
        'BREAKERD_TLS_CA as well, or BREAKERD_TOKEN_OVER_PLAINTEXT=1 if that is no harm');
  }
  return options;
}

/** The path of a file that can be read. */
function file(
    name: string, value: (name: string) => string | undefined, none?: string): string | undefined {
  const path = value(name);
  if (path === undefined || path === none) return path;
  try {
    accessSync(path, constants.R_OK);
  } catch (error) {
    throw invalid(`${name}: cannot be read: ${(error as Error).message}`);
  }
  return path;
}
