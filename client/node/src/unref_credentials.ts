import {ChannelCredentials} from '@grpc/grpc-js';
import type {CallCredentials} from '@grpc/grpc-js';
import type {Socket} from 'node:net';

type Connector = ReturnType<ChannelCredentials['_createSecureConnector']>;

/**
 * Credentials like others, with connections that do not keep the process alive, and with call
 * credentials more if need be. Those go out in plain text too, where grpc-js itself would refuse
 * to: whoever gives them has seen to it.
 *
 * grpc-js makes the socket keep it alive while a call is open on it, and the Watch stream is always
 * open. So the socket is let go once and for all. Unary calls keep the process alive all the same:
 * by the timer of their deadline.
 */
export class UnrefCredentials extends ChannelCredentials {
  constructor(
    private readonly inner: ChannelCredentials,
    private readonly more?: CallCredentials,
  ) {
    super();
  }

  override _isSecure(): boolean {
    return this.inner._isSecure();
  }

  override _equals(other: ChannelCredentials): boolean {
    return other instanceof UnrefCredentials && this.inner._equals(other.inner) &&
        this.more === other.more;
  }

  override _createSecureConnector(
      ...[target, options, given]: Parameters<ChannelCredentials['_createSecureConnector']>
  ): Connector {
    const all = given === undefined ? this.more : this.more?.compose(given) ?? given;
    const connector = this.inner._createSecureConnector(target, options, all);
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
