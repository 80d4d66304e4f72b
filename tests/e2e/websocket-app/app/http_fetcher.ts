/** @file Fetches keys over plain HTTP, which aws-jwt-verify by itself does over HTTPS alone. */

import {Agent, get} from 'node:http';

import {FetchError} from 'aws-jwt-verify/error';

const TIMEOUT_MS = 3000;

export class HttpFetcher {
  private readonly agent = new Agent({keepAlive: true, maxSockets: 1});

  /** Tries once: the breaker decides when it is worth trying again. */
  fetch(uri: string): Promise<ArrayBuffer> {
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => reject(new FetchError(uri, error.message));
      const request = get(uri, {agent: this.agent, timeout: TIMEOUT_MS}, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', fail);
        response.on('end', () => {
          if (response.statusCode !== 200) fail(new Error(`status ${response.statusCode}`));
          const body = new Uint8Array(Buffer.concat(chunks));
          resolve(body.buffer);
        });
      });
      request.on('timeout', () => request.destroy(new Error(`silent for ${TIMEOUT_MS} ms`)));
      request.on('error', fail);
    });
  }
}
