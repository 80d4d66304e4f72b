/** @fileoverview What the tests of a service against a scripted daemon have in common. */

import {afterEach, beforeEach} from 'node:test';

import {CircuitBreakerService} from 'breakerd-client';

import {PATIENCE_MS, eventually} from './eventually.mjs';
import {ScriptedService} from './scripted_service.mjs';

export const NAME = {service: 'db', operation: 'query'};

export const succeed = async () => 'done';
export const fail = async () => {
  throw new Error('down');
};

/** What became of a call. */
export async function outcomeOf(promise) {
  try {
    return {value: await promise};
  } catch (error) {
    return {error};
  }
}

/** Fails a test in which a rejection is handled by no one. */
const unhandled = [];
process.on('unhandledRejection', (error) => unhandled.push(error));

/** A daemon for each test, and services that end with it. */
export function useScriptedDaemon() {
  const fixture = {
    /** @type {ScriptedService} */
    daemon: null,
    clients: [],

    client(options = {}) {
      const client = new CircuitBreakerService(
          {target: fixture.daemon.target, rpcTimeout: PATIENCE_MS, ...options});
      fixture.clients.push(client);
      return client;
    },

    /** A call of the one breaker that these tests are about. */
    call(client, fn = succeed, options = undefined, fallback = null) {
      return client.execute(NAME.service, NAME.operation, fn, fallback, options);
    },

    /** Whether the next call is made, and decided without asking the daemon. */
    async isCached(client) {
      const asked = fixture.daemon.acquires.length;
      const {error} = await outcomeOf(fixture.call(client, ignored, {isFailure: () => false}));
      return error === IGNORED && fixture.daemon.acquires.length === asked;
    },

    /** From then on the client decides by what the stream says. Leaves no outcome behind. */
    async follow(client) {
      await eventually(() => fixture.isCached(client));
      await eventually(() => fixture.daemon.batches.length > 0);
    },

    async refusal(client, options) {
      const {error} = await outcomeOf(fixture.call(client, succeed, options));
      return error?.name === 'CircuitOpenError' ? error : null;
    },
  };
  beforeEach(async () => {
    unhandled.length = 0;
    fixture.daemon = await ScriptedService.start();
  });
  afterEach(async () => {
    fixture.daemon.stop();
    await Promise.all(fixture.clients.splice(0).map((client) => client.close()));
    if (unhandled.length > 0) throw new Error('unhandled rejection', {cause: unhandled[0]});
  });
  return fixture;
}

const IGNORED = new Error('ignored');
async function ignored() {
  throw IGNORED;
}
