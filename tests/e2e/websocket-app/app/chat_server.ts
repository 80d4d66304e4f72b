/** @file The WebSocket server of one worker. */

import {randomUUID} from 'node:crypto';
import {once} from 'node:events';
import {createServer, type IncomingMessage, type Server, type ServerResponse} from 'node:http';
import type {AddressInfo} from 'node:net';

import {WebSocketServer, type WebSocket} from 'ws';

import type {AuthenticationService} from './authentication_service.js';
import type {ChatService} from './chat_service.js';
import type {ConnectionService} from './connection_service.js';
import {AnswerError} from './errors.js';
import type {Log} from './log.js';
import type {MessageService} from './message_service.js';
import {parseRequest, type Answer, type Request} from './protocol.js';

const MAX_MESSAGE_BYTES = 16 * 1024;

export interface Services {
  readonly authentication: AuthenticationService;
  readonly chat: ChatService;
  readonly connections: ConnectionService;
  readonly messages: MessageService;
}

class Connection {
  /** Set once the client has said who it is, and is known to all workers. */
  user: string | null = null;

  constructor(readonly id: string, private readonly socket: WebSocket) {}

  send(answer: Answer): void {
    this.deliver(JSON.stringify(answer));
  }

  deliver(text: string): void {
    this.socket.send(text, () => {});  // A client that has gone misses it.
  }
}

export class ChatServer {
  private readonly http: Server;
  private readonly sockets = new WebSocketServer({noServer: true, maxPayload: MAX_MESSAGE_BYTES});
  private readonly connections = new Map<string, Connection>();
  /** Removals that are under way. */
  private readonly farewells = new Set<Promise<void>>();

  constructor(private readonly services: Services, private readonly log: Log) {
    this.http = createServer((request, response) => this.deliver(request, response));
    this.http.on('upgrade', (request, socket, head) => {
      this.sockets.handleUpgrade(request, socket, head, (client) => this.welcome(client));
    });
  }

  /** Resolves with the port, a free one. */
  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.http.listen(0, '127.0.0.1', resolve));
    return (this.http.address() as AddressInfo).port;
  }

  /** Sends every client away; resolves when all that is known of them is cleared up. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.http.close(resolve));
    this.http.closeAllConnections();
    await Promise.all(Array.from(this.sockets.clients, (client) => {
      client.terminate();
      return once(client, 'close');
    }));
    await closed;
    await Promise.all(this.farewells);
  }

  private welcome(socket: WebSocket): void {
    // The API that manages connections finds the worker by it.
    const id = `${(this.http.address() as AddressInfo).port}-${randomUUID()}`;
    const connection = new Connection(id, socket);
    this.connections.set(id, connection);
    socket.on('message', (data) => void this.answer(connection, String(data)));
    socket.on('error', () => socket.terminate());
    socket.on('close', () => {
      this.connections.delete(id);
      if (connection.user !== null) this.forget(connection);
    });
  }

  private async answer(connection: Connection, text: string): Promise<void> {
    const request = parseRequest(text);
    if (request === null) {
      connection.send({type: 'error', message: 'Not understood'});
      return;
    }
    const of = request.type === 'message' ? {id: request.id} : {};
    try {
      await this.handle(connection, request);
    } catch (error) {
      if (error instanceof AnswerError) {
        connection.send({type: 'error', ...of, message: error.message});
        return;
      }
      this.log.warn('call_failed', {request: request.type, error: String(error)});
      connection.send({type: 'error', ...of, message: 'That did not work, please try again'});
    }
  }

  private async handle(connection: Connection, request: Request): Promise<void> {
    if (request.type === 'authenticate') {
      const user = await this.services.authentication.verify(request.token);
      // A client that stays for long comes again with a new token.
      if (connection.user === null) {
        await this.services.connections.storeConnection(connection.id, user);
        connection.user = user;
        if (!this.connections.has(connection.id)) this.forget(connection);  // Has left meanwhile.
      }
      connection.send({type: 'authenticated', user});
      return;
    }
    if (connection.user === null) throw new AnswerError('Authenticate first');
    const {id, text} = request;
    await this.services.chat.storeUserMessage({connectionId: connection.id, id, text});
    const reply = `${connection.user} said ${text}`;
    await this.services.chat.storeBotMessage({connectionId: connection.id, id, text: reply});
    const answer: Answer = {type: 'reply', id, text: reply};
    await this.services.messages.post(connection.id, answer);
  }

  private forget({id}: Connection): void {
    const farewell = this.services.connections.removeConnection(id).then(
        () => {}, (error) => this.log.warn('call_failed', {request: 'close', error: String(error)}))
        .finally(() => this.farewells.delete(farewell));
    this.farewells.add(farewell);
  }

  /** POST /connections/ID: a message from the API that manages connections. */
  private deliver(request: IncomingMessage, response: ServerResponse): void {
    const id = /^\/connections\/([\w-]+)$/.exec(request.url ?? '')?.[1];
    const connection = this.connections.get(id ?? '');
    if (request.method !== 'POST' || connection === undefined) {
      request.resume();
      response.writeHead(404).end();
      return;
    }
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      connection.deliver(Buffer.concat(chunks).toString());
      response.writeHead(200).end();
    });
  }
}
