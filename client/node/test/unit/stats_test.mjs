/** @fileoverview getCircuitBreakerStats and fetchCircuitBreakerStats. */

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {CircuitState} from '../support/scripted_service.mjs';
import {eventually} from '../support/eventually.mjs';
import {NAME, fail, outcomeOf, succeed, useScriptedDaemon} from '../support/fixture.mjs';

const fixture = useScriptedDaemon();
const {call, follow} = fixture;

const daemonStats = (more) => ({
  service: 'db', operation: 'query', state: CircuitState.CLOSED, failureCount: 2n,
  successCount: 6n, totalRequests: 8n, failureRate: 0.25, slowCount: 0n, consecutiveFailures: 0,
  inFlight: 0, failingWorkers: 1, generation: 1n, policySource: 1, recentTransitions: [],
  lastFailureError: '', rampFraction: 1, lastFailureTime: new Date(1000),
  lastSuccessTime: new Date(2000), nextAttemptTime: undefined, ...more,
});

test('breaker that was never called has none', async () => {
  const client = fixture.client();
  assert.equal(client.getCircuitBreakerStats('db', 'query'), null);
  assert.equal(await client.fetchCircuitBreakerStats('db', 'query'), null);
});

test('own outcomes are known at once', async () => {
  const client = fixture.client();
  await follow(client);
  const before = Date.now();
  for (const fn of [succeed, fail, fail, succeed]) await outcomeOf(call(client, fn));
  const stats = client.getCircuitBreakerStats('db', 'query');
  const {lastFailureTime, lastSuccessTime, ...rest} = stats;
  assert.deepEqual(rest, {
    state: 'CLOSED', failureCount: 2, successCount: 2, totalRequests: 4, failureRate: 0.5,
    nextAttemptTime: null,
  });
  for (const time of [lastFailureTime, lastSuccessTime]) {
    assert.ok(Math.abs(time - before) < 10_000);
  }
});

test('daemon\'s counts are fetched in the background, and own outcomes added', async () => {
  const client = fixture.client();
  await follow(client);
  fixture.daemon.stats = daemonStats();
  await eventually(() => client.getCircuitBreakerStats('db', 'query').totalRequests === 8);
  await outcomeOf(call(client, fail));
  const stats = client.getCircuitBreakerStats('db', 'query');
  assert.equal(stats.failureCount, 3);
  assert.equal(stats.failureRate, 3 / 9);
  assert.deepEqual(stats.lastSuccessTime, new Date(2000));
  assert.equal(fixture.daemon.getStatsCalls <= 2, true, 'not with each question');
});

test('fetch tells the daemon first what it does not know, and is exact', async () => {
  const client = fixture.client();
  await follow(client);
  for (let i = 0; i < 5; ++i) await call(client);
  fixture.daemon.stats = daemonStats({
    state: CircuitState.OPEN, nextAttemptTime: new Date(9000), generation: 2n,
  });
  const stats = await client.fetchCircuitBreakerStats('db', 'query');
  assert.equal(fixture.daemon.told('SUCCESS'), 5);
  assert.deepEqual(stats, {
    state: 'OPEN', failureCount: 2, successCount: 6, totalRequests: 8, failureRate: 0.25,
    lastFailureTime: new Date(1000), lastSuccessTime: new Date(2000),
    nextAttemptTime: new Date(9000),
  });
});

test('next attempt is told while open, and counts begin anew when it closes', async () => {
  const client = fixture.client();
  await follow(client);
  await outcomeOf(call(client, fail));
  fixture.daemon.push(NAME, {state: 'OPEN', generation: 2, retryAfter: 60_000});
  const open = await eventually(() => {
    const stats = client.getCircuitBreakerStats('db', 'query');
    return stats.state === 'OPEN' && stats;
  });
  assert.equal(open.failureCount, 1);
  assert.ok(Math.abs(open.nextAttemptTime - Date.now() - 60_000) < 20_000);
  fixture.daemon.push(NAME, {generation: 3});
  await eventually(() => client.getCircuitBreakerStats('db', 'query').state === 'CLOSED');
  const closed = client.getCircuitBreakerStats('db', 'query');
  assert.equal(closed.totalRequests, 0);
  assert.equal(closed.failureRate, 0);
  assert.equal(closed.nextAttemptTime, null);
});

test('remote service knows the state that it was told last', async () => {
  const client = fixture.client({mode: 'remote'});
  await call(client);
  fixture.daemon.answerAcquire({state: 'OPEN', generation: 2, retryAfter: 60_000});
  await outcomeOf(call(client));
  const stats = client.getCircuitBreakerStats('db', 'query');
  assert.equal(stats.state, 'OPEN');
  assert.equal(stats.successCount, 1);
  assert.ok(stats.nextAttemptTime > new Date());
});
