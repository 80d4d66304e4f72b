import {credentials as grpcCredentials} from '@grpc/grpc-js';
import type {ChannelCredentials} from '@grpc/grpc-js';

import {invalid} from './errors.js';
import {TlsCredentials} from './tls_credentials.js';
import type {TlsOptions} from './tls_credentials.js';
import {Token} from './token.js';
import {UnrefCredentials} from './unref_credentials.js';

/** How the two ends of a connection are sure of each other. */
export interface SecurityOptions {
  /** Default: plain text. */
  readonly tls?: TlsOptions | undefined;
  /** Of grpc-js, instead of `tls`. */
  readonly credentials?: ChannelCredentials | undefined;
  readonly token?: string | (() => string) | undefined;
  readonly tokenFile?: string | undefined;
  readonly tokenOverPlaintext?: boolean | undefined;
}

/** Throws BreakerdError INVALID_ARGUMENT if the options are not valid, or contradict each other. */
export function channelCredentialsOf(
    options: SecurityOptions, target: string): ChannelCredentials {
  const {tls, credentials, tokenOverPlaintext = false} = options;
  if (tls !== undefined && credentials !== undefined) {
    throw invalid('tls, credentials: there must be one of them at most');
  }
  const channel = tls !== undefined ?
    new TlsCredentials(tls, target) :
    credentials ?? grpcCredentials.createInsecure();
  const token = tokenOf(options);
  if (token === null) return new UnrefCredentials(channel);
  if (!channel._isSecure() && !tokenOverPlaintext) {
    throw invalid('token: without TLS all could read it on its way; ' +
        'give `tls` as well, or `tokenOverPlaintext: true` if that is no harm');
  }
  return new UnrefCredentials(channel, token.asCredentials());
}

function tokenOf({token, tokenFile}: SecurityOptions): Token | null {
  if (token !== undefined && tokenFile !== undefined) {
    throw invalid('token, tokenFile: there must be one of them at most');
  }
  if (token !== undefined) return Token.of(typeof token === 'function' ? token() : token);
  return tokenFile === undefined ? null : Token.fromFile(tokenFile);
}
