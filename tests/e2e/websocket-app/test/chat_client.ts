/** @file A client of the application. */

import {once} from 'node:events';

import {WebSocket} from 'ws';

import type {Answer, Request} from '../app/protocol.js';

const ANSWER_TIMEOUT_MS = 15_000;
const AUTHENTICATION = '';

/** 'ok', or what the application said instead; or 'no answer', or 'connection lost'. */
export type Outcome = string;

export class ChatClient {
  /** Who waits for an answer, by the message's id. */
  private readonly pending = new Map<string, (outcome: Outcome) => void>();
  private said = 0;

  private constructor(readonly worker: number, readonly user: string,
                      private readonly socket: WebSocket) {
    socket.on('message', (data) => this.hear(JSON.parse(String(data)) as Answer));
    socket.on('error', () => {});  // 'close' follows.
    socket.on('close', () => this.pending.forEach((done) => done('connection lost')));
  }

  /** `worker` is the number of the one at that port. */
  static async connect(worker: number, port: number, user: string): Promise<ChatClient> {
    const socket = new WebSocket(`ws://127.0.0.1:${port}`);
    const client = new ChatClient(worker, user, socket);
    await once(socket, 'open');
    return client;
  }

  authenticate(token: string): Promise<Outcome> {
    return this.ask(AUTHENTICATION, {type: 'authenticate', token});
  }

  /** Ends with the bot's reply. */
  chat(): Promise<Outcome> {
    const id = `m${++this.said}`;
    return this.ask(id, {type: 'message', id, text: `hello ${this.said}`});
  }

  async leave(): Promise<void> {
    if (this.socket.readyState === WebSocket.CLOSED) return;
    const closed = once(this.socket, 'close');
    this.socket.close();
    await closed;
  }

  private ask(id: string, request: Request): Promise<Outcome> {
    if (this.socket.readyState !== WebSocket.OPEN) return Promise.resolve('connection lost');
    return new Promise((resolve) => {
      const timer = setTimeout(() => done('no answer'), ANSWER_TIMEOUT_MS);
      const done = (outcome: Outcome) => {
        clearTimeout(timer);
        this.pending.delete(id);
        resolve(outcome);
      };
      this.pending.set(id, done);
      this.socket.send(JSON.stringify(request));
    });
  }

  private hear(answer: Answer): void {
    if (answer.type === 'authenticated') {
      this.pending.get(AUTHENTICATION)?.('ok');
    } else if (answer.type === 'reply') {
      const right = answer.text === `${this.user} said hello ${answer.id.slice(1)}`;
      this.pending.get(answer.id)?.(right ? 'ok' : `wrong reply: ${answer.text}`);
    } else {
      this.pending.get(answer.id ?? AUTHENTICATION)?.(answer.message);
    }
  }
}
