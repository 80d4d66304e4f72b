import {ChannelCredentials} from '@grpc/grpc-js';
import type {Socket} from 'node:net';

type Connector = ReturnType<ChannelCredentials['_createSecureConnector']>;

/**
 * Credentials like others, with connections that do not keep the process alive.
 *
 * grpc-js makes the socket keep it alive while a call is open on it, and the Watch stream is always
 * open. So the socket is let go once and for all. Unary calls keep the process alive all the same:
 * by the timer of their deadline.
 */
export class UnrefCredentials extends ChannelCredentials {
  constructor(private readonly inner: ChannelCredentials) {
    super();
  }

  override _isSecure(): boolean {
    return this.inner._isSecure();
  }

  override _equals(other: ChannelCredentials): boolean {
    return other instanceof UnrefCredentials && this.inner._equals(other.inner);
  }

  override _createSecureConnector(
      ...args: Parameters<ChannelCredentials['_createSecureConnector']>): Connector {
    const connector = this.inner._createSecureConnector(...args);
    return {
      connect: async (socket) => {
        letGo(socket);
        const result = await connector.connect(socket);
        if (result.socket !== socket) letGo(result.socket);
        return result;
      },
      waitForReady: () => connector.waitForReady(),
      getCallCredentials: () => connector.getCallCredentials(),
      destroy: () => connector.destroy(),
    };
  }
}

function letGo(socket: Socket): void {
  socket.unref();
  socket.ref = () => socket;
}
