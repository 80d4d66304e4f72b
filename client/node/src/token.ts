import {Metadata, credentials as grpcCredentials} from '@grpc/grpc-js';
import type {CallCredentials} from '@grpc/grpc-js';
import {readFileSync} from 'node:fs';
import {readFile} from 'node:fs/promises';

import {invalid} from './errors.js';
import {now as monotonic} from './time.js';

/** A file is looked at when a token is needed and this has passed since, in milliseconds. */
const LOOK_AGAIN_AFTER = 1000;
const MAX_LENGTH = 4096;
const ALLOWED = `1 to ${MAX_LENGTH} characters of ASCII without spaces`;

/** By which a worker proves who it is. It is never part of an error, nor shown by inspect. */
export class Token {
  #value: string;
  private lookedAt = monotonic();

  private constructor(value: string, private readonly file: string | null) {
    this.#value = value;
  }

  /** Throws BreakerdError INVALID_ARGUMENT if it cannot be one. */
  static of(value: unknown): Token {
    checkToken(value);
    return new Token(value, null);
  }

  /** Throws BreakerdError INVALID_ARGUMENT if the file cannot be read, or holds none. */
  static fromFile(path: string): Token {
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      throw invalid(`tokenFile: cannot be read: ${(error as Error).message}`);
    }
    const value = text.trim();
    if (!isToken(value)) {
      throw invalid(`tokenFile: what ${JSON.stringify(path)} holds is not ${ALLOWED}`);
    }
    return new Token(value, path);
  }

  /** Sends it with each rpc, as the file has it within the last second. */
  asCredentials(): CallCredentials {
    return grpcCredentials.createFromMetadataGenerator((_, callback) => {
      void this.current().then((value) => {
        const metadata = new Metadata();
        metadata.set('authorization', `Bearer ${value}`);
        callback(null, metadata);
      });
    });
  }

  /** Never rejects: while the file holds no token it is the last one. */
  private async current(): Promise<string> {
    const now = monotonic();
    if (this.file !== null && now - this.lookedAt >= LOOK_AGAIN_AFTER) {
      this.lookedAt = now;
      const value = (await readFile(this.file, 'utf8').catch(() => '')).trim();
      if (isToken(value)) this.#value = value;
    }
    return this.#value;
  }
}

/** Throws BreakerdError INVALID_ARGUMENT, without the value, if it cannot be one. */
export function checkToken(value: unknown, field = 'token'): asserts value is string {
  if (!isToken(value)) throw invalid(`${field}: is not ${ALLOWED}`);
}

function isToken(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_LENGTH && /^[\x21-\x7e]+$/.test(value);
}
