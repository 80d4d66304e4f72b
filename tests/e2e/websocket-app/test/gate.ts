/** @file Stands before a dependency, and counts who comes. */

import {createServer, connect, type AddressInfo, type Server, type Socket} from 'node:net';

/**
 * Passes bytes on between its own port and the dependency's. A connection that the dependency
 * refuses or loses is reset, as it would be without the gate.
 */
export class Gate {
  /** When each connection came. */
  readonly arrivals: number[] = [];
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();
  private waiting: Socket[] | null = null;

  private constructor(private readonly target: number) {
    this.server = createServer((socket) => {
      this.arrivals.push(Date.now());
      this.track(socket);
      if (this.waiting === null) this.join(socket);
      else this.waiting.push(socket);
    });
  }

  /** `target` is the dependency's port. */
  static async open(target: number): Promise<Gate> {
    const gate = new Gate(target);
    await new Promise<void>((resolve) => gate.server.listen(0, '127.0.0.1', resolve));
    gate.server.unref();  // A test that fails early ends all the same.
    return gate;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  arrivalsSince(time: number): number {
    return this.arrivals.filter((arrival) => arrival >= time).length;
  }

  /** From now on connections come no further than to here. */
  hold(): void {
    this.waiting ??= [];
  }

  get held(): number {
    return this.waiting?.length ?? 0;
  }

  release(): void {
    const waiting = this.waiting ?? [];
    this.waiting = null;
    for (const socket of waiting) this.join(socket);
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  private join(outer: Socket): void {
    const inner = connect(this.target, '127.0.0.1');
    this.track(inner);
    outer.pipe(inner).pipe(outer);
    outer.on('close', () => inner.destroy());
    inner.on('close', () => outer.resetAndDestroy());
  }

  private track(socket: Socket): void {
    this.sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => {});  // 'close' follows.
    socket.on('close', () => this.sockets.delete(socket));
  }
}
