/** @fileoverview A service in cached mode, and a daemon that is there. */

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {CircuitOpenError} from 'breakerd-client';

import {eventually} from '../support/eventually.mjs';
import {NAME, fail, outcomeOf, succeed, useScriptedDaemon} from '../support/fixture.mjs';
import {status} from '../support/scripted_service.mjs';

const fixture = useScriptedDaemon();
const {call, follow, isCached, refusal} = fixture;

test('first call asks, is reported, and subscribes', async () => {
  const client = fixture.client({workerId: 'w1', policy: {failureThreshold: 3}});
  await call(client);
  const {acquires, reports} = fixture.daemon;
  assert.equal(acquires.length, 1);
  assert.equal(acquires[0].workerId, 'w1');
  assert.equal(acquires[0].policy.failureThreshold, 3);
  assert.equal(reports.length, 1);
  assert.equal(reports[0].permitId, 7n);
  await eventually(() => fixture.daemon.subscriptions.length === 1);
  const [subscription] = fixture.daemon.subscriptions;
  assert.equal(subscription.service, 'db');
  assert.equal(subscription.operation, 'query');
  assert.equal(subscription.policy.failureThreshold, 3);
});

test('calls ask until the subscription is answered', async () => {
  fixture.daemon.ignoreSubscriptions();
  const client = fixture.client();
  await call(client);
  await eventually(() => fixture.daemon.subscriptions.length === 1);
  await call(client);
  assert.equal(fixture.daemon.acquires.length, 2);
  assert.equal(fixture.daemon.reports.length, 2);
  assert.equal(fixture.daemon.subscriptions.length, 1);
});

test('closed circuit needs no rpc for a call', async () => {
  const client = fixture.client();
  await follow(client);
  const {acquires: {length: asked}, reports: {length: reported}} = fixture.daemon;
  for (let i = 0; i < 100; ++i) assert.equal(await call(client), 'done');
  await eventually(() => fixture.daemon.told('SUCCESS') === 100);
  assert.equal(fixture.daemon.acquires.length, asked);
  assert.equal(fixture.daemon.reports.length, reported);
});

test('batch names worker, session, sequence and generation', async () => {
  fixture.daemon.answerSubscriptions({generation: 7});
  const client = fixture.client({workerId: 'w1'});
  await follow(client);
  await outcomeOf(call(client, fail));
  await eventually(() => fixture.daemon.failures.length === 1);
  const {batches} = fixture.daemon;
  const last = batches[batches.length - 1];
  assert.equal(last.workerId, 'w1');
  assert.notEqual(last.sessionId, 0n);
  assert.equal(last.sessionId, batches[0].sessionId);
  assert.deepEqual(batches.map(({sequence}) => sequence), batches.map((_, i) => BigInt(i + 1)));
  assert.equal(last.outcomes.length, 1);
  const [run] = last.outcomes;
  assert.equal(run.generation, 7n);
  assert.equal(run.count, 1);
  assert.equal(run.error, 'Error');
});

test('failures of one turn of the event loop come in one batch, at once', async () => {
  const client = fixture.client();
  await follow(client);
  const before = fixture.daemon.batches.length;
  await Promise.all(Array.from({length: 50}, () => outcomeOf(call(client, fail))));
  await eventually(() => fixture.daemon.told('FAILURE') === 50);
  assert.ok(fixture.daemon.batches.length - before <= 2);
});

test('outcomes keep their order, and equal ones make a run', async () => {
  const client = fixture.client();
  await follow(client);
  const before = fixture.daemon.runs.length;
  for (const fn of [succeed, succeed, fail, fail, fail, succeed, fail]) {
    await outcomeOf(call(client, fn));
  }
  await eventually(() => fixture.daemon.told('FAILURE') === 4);
  assert.deepEqual(fixture.daemon.runs.slice(before).map(({outcome, count}) => [outcome, count]),
      [[1, 2], [2, 3], [1, 1], [2, 1]]);
});

test('slow calls are marked, and measured', async () => {
  fixture.daemon.answerSubscriptions({policy: {expectedResponseTime: 5}});
  const client = fixture.client();
  await follow(client);
  await call(client, () => eventually(((end) => () => performance.now() > end)(
      performance.now() + 10)));
  await call(client);
  await eventually(() => fixture.daemon.told('SUCCESS') === 2);
  assert.equal(fixture.daemon.runs.reduce((sum, {slowCount}) => sum + slowCount, 0), 1);
});

test('slow success that the policy takes for a failure is sent at once', async () => {
  fixture.daemon.answerSubscriptions(
      {policy: {expectedResponseTime: 1e-6, slowCallsAreFailures: true}});
  const client = fixture.client();
  await follow(client);
  const before = fixture.daemon.batches.length;
  await call(client);
  await eventually(() => fixture.daemon.batches.length > before);
  assert.equal(fixture.daemon.runs.at(-1).slowCount, 1);
});

test('what is left is sent by close', async () => {
  const client = fixture.client();
  await follow(client);
  for (let i = 0; i < 10; ++i) await call(client);
  await outcomeOf(call(client, fail));
  await call(client);
  await client.close();
  assert.equal(fixture.daemon.told('SUCCESS'), 11);
  assert.equal(fixture.daemon.told('FAILURE'), 1);
  await eventually(() => fixture.daemon.streams === 0);
});

test('trip is heard of, refuses here, and says why', async () => {
  const client = fixture.client();
  await follow(client);
  const reason = '3 consecutive failures (threshold 3)';
  fixture.daemon.push(NAME, {
    state: 'OPEN', generation: 2, retryAfter: 60_000,
    transition: {from: 1, to: 2, time: new Date(), cause: 1, reason, generation: 2n},
  });
  await eventually(() => refusal(client));
  const asked = fixture.daemon.acquires.length;
  const error = await refusal(client);
  assert.ok(error instanceof CircuitOpenError);
  assert.equal(error.service, 'db');
  assert.equal(error.operation, 'query');
  assert.equal(error.state, 'OPEN');
  assert.equal(error.reason, reason);
  assert.ok(error.retryAfter > 20_000 && error.retryAfter <= 60_000, String(error.retryAfter));
  assert.match(error.message, /^db\/query is OPEN, retry in \d+s: 3 consecutive failures/);
  assert.equal(await call(client, succeed, undefined, () => 'fallback'), 'fallback');
  assert.equal(fixture.daemon.acquires.length, asked);
});

test('probe is the daemon\'s to grant, and is reported to it at once', async () => {
  const client = fixture.client();
  await follow(client);
  fixture.daemon.answerAcquire(
      {allowed: true, permitId: 9, probe: true, state: 'HALF_OPEN', generation: 3});
  const reported = fixture.daemon.reports.length;
  fixture.daemon.push(NAME, {state: 'OPEN', generation: 2, retryAfter: 50});
  await eventually(() => refusal(client));
  await eventually(async () => !await refusal(client));
  assert.equal(fixture.daemon.reports.length, reported + 1);
  assert.equal(fixture.daemon.reports.at(-1).permitId, 9n);
});

test('refused probe is not asked for again before its time', async () => {
  const client = fixture.client();
  await follow(client);
  fixture.daemon.answerAcquire({state: 'HALF_OPEN', generation: 3, retryAfter: 60_000});
  fixture.daemon.push(NAME, {state: 'OPEN', generation: 2});
  const asked = fixture.daemon.acquires.length;
  await eventually(async () => (await refusal(client))?.state === 'HALF_OPEN');
  for (let i = 0; i < 100; ++i) assert.ok(await refusal(client));
  assert.equal(fixture.daemon.acquires.length, asked + 1);
});

test('one call asks for a probe at a time; the others are refused meanwhile', async () => {
  const client = fixture.client();
  await follow(client);
  fixture.daemon.push(NAME, {state: 'OPEN', generation: 2, retryAfter: 60_000});
  await eventually(() => refusal(client));
  fixture.daemon.hang();
  const asked = fixture.daemon.acquires.length;
  fixture.daemon.push(NAME, {state: 'HALF_OPEN', generation: 3, retryAfter: 60_000});
  let probing;
  await eventually(async () => {
    probing = call(client);
    const first = await Promise.race([outcomeOf(probing), eventually(
        () => fixture.daemon.acquires.length > asked)]);
    return first === true;
  });
  for (let i = 0; i < 10; ++i) assert.ok(await refusal(client));
  assert.equal(fixture.daemon.acquires.length, asked + 1);
  fixture.daemon.release();
  assert.equal(await probing, 'done');
});

test('unanswered question for a probe is a refusal while the daemon is heard from', async () => {
  const client = fixture.client({rpcTimeout: 200});
  await follow(client);
  fixture.daemon.push(NAME, {state: 'HALF_OPEN', generation: 3});
  await eventually(async () => (await client.getCircuitBreakerStats('db', 'query'))?.state ===
      'HALF_OPEN');
  fixture.daemon.hang();
  assert.equal((await refusal(client))?.state, 'HALF_OPEN');
  fixture.daemon.release();
});

test('shadow refuses nothing, and its calls are not counted', async () => {
  const client = fixture.client();
  await follow(client);
  fixture.daemon.push(
      NAME, {state: 'OPEN', generation: 2, retryAfter: 60_000, policy: {shadow: true}});
  await eventually(() => client.getCircuitBreakerStats('db', 'query').state === 'OPEN');
  await outcomeOf(call(client, fail));
  fixture.daemon.push(NAME, {generation: 3});
  await eventually(() => client.getCircuitBreakerStats('db', 'query').state === 'CLOSED');
  await call(client);
  await eventually(() => fixture.daemon.told('SUCCESS') === 1);
  assert.equal(fixture.daemon.told('FAILURE'), 0);
});

test('forced open refuses under a shadow policy too', async () => {
  const client = fixture.client();
  await follow(client);
  fixture.daemon.push(NAME, {
    state: 'OPEN', generation: 2, retryAfter: 60_000, policy: {shadow: true},
    override: {mode: 1, reason: 'maintenance', actor: 'ops', expiresAt: undefined},
  });
  const error = await eventually(() => refusal(client));
  assert.equal(error.reason, 'forced open by ops: maintenance');
  assert.equal(client.getCircuitBreakerStats('db', 'query').nextAttemptTime, null);
});

test('outcome belongs to the generation that allowed its call', async () => {
  const client = fixture.client();
  await follow(client);
  let end;
  const running = call(client, () => new Promise((resolve) => {
    end = resolve;
  }));
  const state = () => client.getCircuitBreakerStats('db', 'query').state;
  fixture.daemon.push(NAME, {state: 'OPEN', generation: 2, retryAfter: 60_000});
  await eventually(() => state() === 'OPEN');
  fixture.daemon.push(NAME, {generation: 3});
  await eventually(() => state() === 'CLOSED');
  await call(client);
  end('late');
  assert.equal(await running, 'late');
  await eventually(() => fixture.daemon.told('SUCCESS') === 2);
  assert.deepEqual(fixture.daemon.runs.filter(({outcome}) => outcome === 1)
      .map(({generation}) => generation), [3n, 1n]);
});

test('older generation is no news', async () => {
  fixture.daemon.answerSubscriptions({generation: 5});
  const client = fixture.client();
  await follow(client);
  fixture.daemon.push(NAME, {state: 'OPEN', generation: 4, retryAfter: 60_000});
  fixture.daemon.push({service: 'db', operation: 'query'}, {generation: 6});
  const cell = client.cache.cells.find('db', 'query');
  await eventually(() => cell.generation === 6);
  assert.equal(client.listenerCount('stateChange'), 0);
  assert.ok(await isCached(client));
});

test('ramp admits a growing share', async () => {
  const client = fixture.client();
  await follow(client);
  fixture.daemon.push(NAME, {generation: 2, rampFraction: 0.1, policy: {recoveryRamp: 3_600_000}});
  await eventually(() => refusal(client));
  let refused = 0;
  for (let i = 0; i < 500; ++i) refused += await refusal(client) ? 1 : 0;
  assert.ok(refused > 400 && refused < 490, `${refused} of 500`);
  const error = await eventually(() => refusal(client));
  assert.equal(error.state, 'CLOSED');
  assert.match(error.reason, /share of calls/);
  fixture.daemon.push(NAME, {generation: 2, rampFraction: 0.99, policy: {recoveryRamp: 1000}});
  await eventually(async () => {
    for (let i = 0; i < 50; ++i) if (await refusal(client)) return false;
    return true;
  });
});

test('removed breaker is asked about and subscribed to anew', async () => {
  const client = fixture.client();
  await follow(client);
  const asked = fixture.daemon.acquires.length;
  fixture.daemon.push(NAME, {removed: true});
  await eventually(async () => {
    await call(client);
    return fixture.daemon.acquires.length > asked;
  });
  await eventually(() => fixture.daemon.subscriptions.length === 2);
});

test('another policy is brought to the daemon once', async () => {
  const client = fixture.client();
  await follow(client);
  const asked = fixture.daemon.acquires.length;
  for (let i = 0; i < 3; ++i) await call(client, succeed, {failureThreshold: 3});
  assert.equal(fixture.daemon.acquires.length, asked + 1);
  assert.equal(fixture.daemon.acquires.at(-1).policy.failureThreshold, 3);
  const options = {failureThreshold: 3};
  await call(client, succeed, options);
  options.failureThreshold = 4;  // The caller may change its own object.
  await call(client, succeed, options);
  assert.equal(fixture.daemon.acquires.length, asked + 2);
  assert.equal(fixture.daemon.acquires.at(-1).policy.failureThreshold, 4);
});

test('options of a call are filled from the policy of the service', async () => {
  const client = fixture.client({policy: {failureThreshold: 9, recoveryTimeout: 1500}});
  await call(client, succeed, {failureThreshold: 3, slowCallsAreFailures: true});
  const {policy} = fixture.daemon.acquires[0];
  assert.equal(policy.failureThreshold, 3);
  assert.deepEqual(policy.recoveryTimeout, {seconds: 1n, nanos: 500_000_000});
  assert.equal(policy.slowCallsAreFailures, true);
  assert.equal(policy.minimumRequestCount, undefined);
});

test('breakers past the bound are as in remote mode', async () => {
  const client = fixture.client({maxCachedBreakers: 1});
  await follow(client);
  const {acquires: {length: asked}, reports: {length: reported}} = fixture.daemon;
  for (let i = 0; i < 5; ++i) await client.execute('one', 'more', succeed);
  assert.equal(fixture.daemon.acquires.length, asked + 5);
  assert.equal(fixture.daemon.reports.length, reported + 5);
  assert.equal(client.cacheStats().breakers, 1);
});

test('daemon without streams is asked for each call', async () => {
  fixture.daemon.endStreams(status.UNIMPLEMENTED, 'no Watch here');
  const client = fixture.client();
  for (let i = 0; i < 5; ++i) await call(client);
  assert.equal(fixture.daemon.acquires.length, 5);
  assert.equal(fixture.daemon.reports.length, 5);
  assert.equal(fixture.daemon.batches.length, 0);
});

test('batch that is rejected is given up and counted', async () => {
  const client = fixture.client();
  await follow(client);
  fixture.daemon.failBatches(status.INVALID_ARGUMENT);
  await outcomeOf(call(client, fail));
  await outcomeOf(call(client, fail));
  await eventually(() => client.cacheStats().droppedOutcomes === 2);
});

test('state changes are told to listeners', async () => {
  const client = fixture.client();
  const changes = [];
  client.on('stateChange', (change) => changes.push(change));
  await follow(client);
  const transition = {
    from: 1, to: 2, time: new Date(), cause: 1, reason: 'it failed', generation: 2n,
  };
  fixture.daemon.push(NAME, {state: 'OPEN', generation: 2, retryAfter: 60_000, transition});
  fixture.daemon.push(NAME, {state: 'OPEN', generation: 2, retryAfter: 60_000});  // no change
  fixture.daemon.push(NAME, {generation: 3});
  await eventually(() => changes.length === 2);
  assert.deepEqual(changes[0], {
    ...NAME, from: 'CLOSED', to: 'OPEN', cause: 'CONSECUTIVE_FAILURES', reason: 'it failed',
    generation: 2, local: false,
  });
  assert.equal(changes[1].to, 'CLOSED');
});
