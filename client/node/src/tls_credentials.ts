import {ChannelCredentials, credentials as grpcCredentials, experimental} from '@grpc/grpc-js';
import {readFileSync} from 'node:fs';
import {readFile} from 'node:fs/promises';
import {isIP} from 'node:net';
import type {Socket} from 'node:net';
import {connect, createSecureContext} from 'node:tls';
import type {SecureContext} from 'node:tls';

import {invalid} from './errors.js';
import {systemRootsFile, systemRootsOfNode} from './system_roots.js';

/** The connection is encrypted, and both ends show who they are. Files are of PEM. */
export interface TlsOptions {
  /**
   * A file with the certificates of the CAs that the daemon's may be of; 'system' = those that the
   * system trusts. Default 'system'.
   */
  ca?: string | undefined;
  /** Files with this worker's certificate (and what leads to its CA) and its key; both or none. */
  cert?: string | undefined;
  key?: string | undefined;
  /** The name that the daemon's certificate has to be for. Default: the target's host. */
  serverName?: string | undefined;
}

type CreateConnector = ChannelCredentials['_createSecureConnector'];
type Connector = ReturnType<CreateConnector>;

/** The option that names it, and its path. */
interface File {
  readonly option: 'ca' | 'cert' | 'key';
  readonly path: string;
}

/**
 * TLS by files, which are read again for each connection: certificates may be replaced while the
 * process runs. What cannot be used then, such as a certificate whose key is not written yet, is
 * left for the next connection, and this one is made with what was there before.
 */
export class TlsCredentials extends ChannelCredentials {
  private readonly host: string;
  private readonly files: readonly File[];
  // Beyond the reach of inspect, for there is a private key in them.
  #contents: readonly Buffer[];
  #context: SecureContext;

  /** Throws BreakerdError INVALID_ARGUMENT if a file cannot be read or used. */
  constructor(private readonly options: TlsOptions, target: string) {
    super();
    const {ca = 'system', cert, key} = options;
    if ((cert === undefined) !== (key === undefined)) {
      throw invalid('tls.cert, tls.key: there must be both or none');
    }
    this.host = hostOf(target);
    const roots = ca === 'system' ? systemRootsFile() : ca;
    this.files = [
      ...(roots === null ? [] : [{option: 'ca', path: roots} as const]),
      ...(cert === undefined ? [] : [{option: 'cert', path: cert} as const]),
      ...(key === undefined ? [] : [{option: 'key', path: key} as const]),
    ];
    this.#contents = this.files.map(({option, path}) => {
      try {
        return readFileSync(path);
      } catch (error) {
        throw invalid(`tls.${option}: cannot be read: ${(error as Error).message}`);
      }
    });
    this.#context = this.contextOf(this.#contents);
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
      ...[, channelOptions, callCredentials]: Parameters<CreateConnector>): Connector {
    const name = this.options.serverName ??
        channelOptions['grpc.ssl_target_name_override'] ?? this.host;
    return {
      waitForReady: () => this.readAgain(),
      connect: async (socket) => (
        {socket: await handshake(socket, this.#context, name), secure: true}),
      getCallCredentials: () => callCredentials ?? grpcCredentials.createEmpty(),
      destroy: () => {},
    };
  }

  private async readAgain(): Promise<void> {
    try {
      const contents = await Promise.all(this.files.map(({path}) => readFile(path)));
      if (contents.every((content, i) => content.equals(this.#contents[i]!))) return;
      this.#context = this.contextOf(contents);
      this.#contents = contents;
    } catch {
      // The next connection tries again.
    }
  }

  private contextOf(contents: readonly Buffer[]): SecureContext {
    const given: {ca?: Buffer | string[] | undefined, cert?: Buffer, key?: Buffer} = {};
    this.files.forEach(({option, path}, i) => {
      const content = contents[i]!;
      const kind = option === 'key' ? 'PRIVATE KEY' : 'CERTIFICATE';
      // What is not of PEM would be passed over in silence.
      if (!content.includes(`${kind}-----`)) {
        throw invalid(`tls.${option}: ${JSON.stringify(path)} holds no ${kind} of PEM`);
      }
      given[option] = content;
    });
    if (given.ca === undefined) given.ca = systemRootsOfNode();
    try {
      return createSecureContext(given);
    } catch (error) {
      throw invalid(`tls: ${this.files.map(({option, path}) => (
        `${option} ${JSON.stringify(path)}`)).join(', ')}: ${(error as Error).message}`);
    }
  }
}

function handshake(socket: Socket, secureContext: SecureContext, name: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const secured = connect({
      socket, secureContext,
      host: name,  // what the certificate has to be for
      servername: isIP(name) === 0 ? name : '',  // An address is none (RFC 6066).
      ALPNProtocols: ['h2'],
    }, () => resolve(secured));
    secured.unref();
    // It stays: one that breaks before its first use must not end the process.
    secured.on('error', reject);
    secured.once('close', () => reject(new Error('the connection was closed')));
  });
}

/** 'dns:///name:port' -> 'name'. */
function hostOf(target: string): string {
  if (/^unix(-abstract)?:/.test(target)) return 'localhost';
  const [address] = target.replace(/^(dns|ipv4|ipv6):(\/\/[^/]*\/)?/, '').split(',');
  return experimental.splitHostPort(address!)?.host ?? address!;
}
