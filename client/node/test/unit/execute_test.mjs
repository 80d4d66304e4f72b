/** @fileoverview What execute does with functions, errors, fallbacks, signals and timeouts. */

import assert from 'node:assert/strict';
import {once} from 'node:events';
import {beforeEach, test} from 'node:test';

import {
  BreakerdError, CallTimeoutError, CircuitBreakerService, CircuitOpenError, MemoryBreakerTransport,
} from 'breakerd-client';

import {fail, outcomeOf, succeed} from '../support/fixture.mjs';
import {eventually} from '../support/eventually.mjs';

const TRIPS_AT_ONE = {failureThreshold: 1, minimumRequestCount: 1};

let transport;
beforeEach(() => {
  transport = new MemoryBreakerTransport();
});
const service = (options) => new CircuitBreakerService({transport, workerId: 'w1', ...options});
const stats = () => transport.stats('db', 'query');

/** A service in cached mode whose next call of db/query needs no rpc. */
async function cached(options) {
  const made = service({mode: 'cached', ...options});
  await made.execute('db', 'query', succeed, null, options?.policy);
  await eventually(() => made.cache.cells.find('db', 'query').open);
  return made;
}

for (const [mode, make] of [['remote', service], ['cached', cached]]) {
  test(`value passes, ${mode}`, async () => {
    const s = await make();
    assert.equal(await s.execute('db', 'query', () => 1), 1);
    assert.equal(await s.execute('db', 'query', async () => 2), 2);
    assert.equal(await s.execute('db', 'query', () => ({then: (done) => done(3)})), 3);
    assert.equal(await s.execute('db', 'query', () => undefined), undefined);
    assert.equal(await s.execute('db', 'query', () => 4, null, null), 4);
  });

  test(`error passes and counts, thrown or rejected, ${mode}`, async () => {
    const s = await make();
    const error = new TypeError('oops');
    const thrown = s.execute('db', 'query', () => {
      throw error;
    });
    assert.ok(thrown instanceof Promise);
    assert.equal((await outcomeOf(thrown)).error, error);
    const rejected = s.execute('db', 'query', () => Promise.reject(error));
    assert.equal((await outcomeOf(rejected)).error, error);
    await s.close();
    assert.equal(stats().failureCount, 2);
  });

  test(`error that is no failure counts as nothing, ${mode}`, async () => {
    const s = await make({isFailure: (error, {service}) => service !== 'db'});
    const before = stats()?.totalRequests ?? 0;
    for (let i = 0; i < 20; ++i) {
      assert.equal((await outcomeOf(s.execute('db', 'query', fail))).error.message, 'down');
    }
    await outcomeOf(s.execute('db', 'query', fail, null, {isFailure: () => true}));
    await s.close();
    assert.equal(stats().failureCount, 1);
    assert.equal(stats().totalRequests, before + 1);
  });

  test(`verdict that throws does not hide the error, ${mode}`, async () => {
    const s = await make({isFailure: () => {
      throw new Error('verdict');
    }});
    assert.equal((await outcomeOf(s.execute('db', 'query', fail))).error.message, 'down');
  });

  test(`fallback does not run on a failure by default, ${mode}`, async () => {
    const s = await make();
    assert.ok((await outcomeOf(s.execute('db', 'query', fail, () => 'fallback'))).error);
  });

  test(`fallback runs on a failure if asked, and is told the error, ${mode}`, async () => {
    const s = await make();
    const options = {fallbackOnFailure: true};
    assert.equal(await s.execute('db', 'query', fail, (error) => error.message, options), 'down');
    const mine = {...options, isFailure: () => false};
    assert.ok((await outcomeOf(s.execute('db', 'query', fail, () => 'fallback', mine))).error);
    assert.ok((await outcomeOf(s.execute('db', 'query', fail, null, options))).error);
    const all = await make({fallbackOnFailure: true});
    assert.equal(await all.execute('db', 'query', fail, () => 'fallback'), 'fallback');
  });

  test(`refused call does not run; the fallback answers and is told why, ${mode}`, async () => {
    const s = await make({policy: TRIPS_AT_ONE});
    await outcomeOf(s.execute('db', 'query', fail));
    await eventually(() => s.getCircuitBreakerStats('db', 'query').state === 'OPEN');
    let ran = false;
    const run = () => ran = true;
    const {error} = await outcomeOf(s.execute('db', 'query', run));
    assert.ok(error instanceof CircuitOpenError);
    assert.equal(error.service, 'db');
    assert.equal(error.operation, 'query');
    assert.ok(error.retryAfter > 29_000 && error.retryAfter <= 30_000);
    assert.equal(await s.execute('db', 'query', run, (reason) => reason.name), 'CircuitOpenError');
    assert.equal(await s.execute('db', 'query', run, async () => 'late'), 'late');
    const {error: fallbackError} = await outcomeOf(s.execute('db', 'query', run, () => {
      throw new Error('fallback too');
    }));
    assert.equal(fallbackError.message, 'fallback too');
    assert.ok(!ran);
    await s.close();
  });

  test(`timeout is a failure and tells the function to stop, ${mode}`, async () => {
    const s = await make();
    let signal;
    const never = (given) => {
      signal = given;
      return new Promise(() => {});
    };
    const isFailure = () => false;
    const {error} = await outcomeOf(
        s.execute('db', 'query', never, null, {timeout: 5, isFailure}));
    assert.ok(error instanceof CallTimeoutError);
    assert.equal(error.timeout, 5);
    assert.ok(signal.aborted);
    assert.equal(signal.reason, error);
    await s.close();
    assert.equal(stats().failureCount, 1);
    const all = await make({timeout: 5});
    const late = await outcomeOf(all.execute('db', 'query', never));
    assert.ok(late.error instanceof CallTimeoutError);
  });

  test(`call that ends in time is not bothered by its timeout, ${mode}`, async () => {
    const s = await make();
    let signal;
    assert.equal(await s.execute('db', 'query', async (given) => {
      signal = given;
      return 'done';
    }, null, {timeout: 60_000}), 'done');
    assert.ok(!signal.aborted);
  });

  test(`abort gives the call up, and counts as nothing, ${mode}`, async () => {
    const s = await make();
    const before = stats()?.totalRequests ?? 0;
    const controller = new AbortController();
    let given;
    const running = s.execute('db', 'query', (signal) => {
      given = signal;
      return once(signal, 'abort').then(() => {
        throw new Error('a rejection that no one waits for any more');
      });
    }, null, {signal: controller.signal});
    await eventually(() => given);
    controller.abort();
    const {error} = await outcomeOf(running);
    assert.equal(error, controller.signal.reason);
    assert.equal(error.name, 'AbortError');
    assert.ok(given.aborted);
    let ran = false;
    const again = await outcomeOf(
        s.execute('db', 'query', () => ran = true, () => 'fallback', {signal: controller.signal}));
    assert.equal(again.error, error);
    assert.ok(!ran);
    await s.close();
    assert.equal(stats().totalRequests, before);
    assert.equal(stats().state, 'CLOSED');
  });
}

test('abort of a probe gives its place to another', async () => {
  const s = service({policy: TRIPS_AT_ONE});
  await outcomeOf(s.execute('db', 'query', fail));
  transport.advance(30_000);
  const controller = new AbortController();
  const {signal} = controller;
  const probe = s.execute('db', 'query', () => new Promise(() => {}), null, {signal});
  await eventually(async () => (await outcomeOf(s.execute('db', 'query', succeed))).error);
  controller.abort();
  await outcomeOf(probe);
  assert.equal(await s.execute('db', 'query', succeed), 'done');
});

test('wrong name or policy is named, and nothing runs', async () => {
  const s = service();
  let ran = false;
  const run = () => ran = true;
  for (const [name, operation, options, message] of [
    ['', 'query', undefined, /^service: "" is not 1 to 128 bytes/],
    ['db', 'x'.repeat(129), undefined, /^operation: .* is not 1 to 128 bytes/],
    ['db', 'a\nb', undefined, /control characters/],
    ['db', undefined, undefined, /^operation/],
    ['db', 'query', {failureRateThreshold: 1.5},
      /^policy.failureRateThreshold: 1.5 is not in \(0, 1\]/],
    ['db', 'query', {failureThreshold: -1}, /^policy.failureThreshold: -1 is not a whole number/],
    ['db', 'query', {failureThreshold: 2.5}, /whole number/],
    ['db', 'query', {recoveryTimeout: NaN}, /^policy.recoveryTimeout: NaN/],
    ['db', 'query', {recoveryTimeout: '30s'}, /^policy.recoveryTimeout: 30s is not a number/],
    ['db', 'query', {recoveryJitter: 1}, /\[0, 1\)/],
    ['db', 'query', {failureCounting: 'ALL'}, /CONSECUTIVE or WINDOWED/],
    ['db', 'query', {shadow: 1}, /true or false/],
  ]) {
    const {error} = await outcomeOf(s.execute(name, operation, run, () => 'fallback', options));
    assert.ok(error instanceof BreakerdError, String(error));
    assert.equal(error.code, 'INVALID_ARGUMENT');
    assert.match(error.message, message);
  }
  assert.ok(!ran);
  assert.throws(() => service({workerId: 'w'.repeat(129)}), /^BreakerdError: workerId/);
  assert.throws(() => service({policy: {halfOpenMaxProbes: 0}}), /policy.halfOpenMaxProbes/);
});

test('label of a failure is its name, or its code', async () => {
  const {labelOf} = await import('../../dist/esm/errors.js');
  assert.equal(labelOf(new TypeError('x')), 'TypeError');
  assert.equal(labelOf(Object.assign(new Error(), {code: 'ECONNREFUSED'})), 'ECONNREFUSED');
  assert.equal(labelOf(Object.assign(new Error(), {name: 'é'.repeat(100)})), '?'.repeat(64));
  assert.equal(labelOf('text'), 'string');
  assert.equal(labelOf(null), 'null');
  assert.equal(labelOf(undefined), 'undefined');
});

test('error of a listener reaches the process and harms nothing', async () => {
  const s = service({policy: TRIPS_AT_ONE});
  s.on('stateChange', () => {
    throw new Error('a listener\'s');
  });
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  const caught = once(process, 'uncaughtException');
  await outcomeOf(s.execute('db', 'query', fail));
  assert.equal((await caught)[0].message, 'a listener\'s');
  for (const listener of listeners) process.on('uncaughtException', listener);
  assert.equal(s.getCircuitBreakerStats('db', 'query').state, 'OPEN');
});
