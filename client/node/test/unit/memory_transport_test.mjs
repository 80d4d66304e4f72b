/** @fileoverview The daemon within the process: a breaker's rules, as users' tests see them. */

import assert from 'node:assert/strict';
import {beforeEach, test} from 'node:test';

import {CircuitBreakerService, MemoryBreakerTransport} from 'breakerd-client';

import {eventually} from '../support/eventually.mjs';
import {fail, outcomeOf, succeed} from '../support/fixture.mjs';

let transport;
let draws;  // what the transport's random numbers are next
beforeEach(() => {
  draws = [];
  transport = new MemoryBreakerTransport({random: () => draws.shift() ?? 0.5});
});
const service = (policy, workerId = 'w1', more = {}) =>
  new CircuitBreakerService({transport, workerId, policy, ...more});
const state = () => transport.stats('db', 'query').state;

async function run(s, ...fns) {
  const results = [];
  for (const fn of fns) results.push(await outcomeOf(s.execute('db', 'query', fn)));
  return results;
}
const refused = async (s) => (await run(s, succeed))[0].error?.name === 'CircuitOpenError';

test('opens at failures in a row, given enough calls', async () => {
  const s = service({failureThreshold: 3, minimumRequestCount: 5});
  await run(s, succeed, fail, fail, fail);
  assert.equal(state(), 'CLOSED', 'four calls are too few');
  await run(s, fail);
  assert.equal(state(), 'OPEN');
  assert.ok(await refused(s));
  assert.equal(transport.stats('db', 'query').failureCount, 4);
});

test('success breaks the run; WINDOWED counts all the same', async () => {
  const s = service({failureThreshold: 3, minimumRequestCount: 1});
  await run(s, fail, fail, succeed, fail, fail);
  assert.equal(state(), 'CLOSED');
  transport.reset('db', 'query');
  await run(service({failureThreshold: 3, minimumRequestCount: 1, failureCounting: 'WINDOWED'}),
      fail, fail, succeed, fail);
  assert.equal(state(), 'OPEN');
});

test('failures leave the window', async () => {
  const s = service({failureThreshold: 2, minimumRequestCount: 1, failureCounting: 'WINDOWED'});
  await run(s, fail);
  transport.advance(60_000);
  await run(s, fail);
  assert.equal(state(), 'CLOSED');
  assert.equal(transport.stats('db', 'query').failureCount, 1);
});

test('opens at a failure rate', async () => {
  const s = service({failureThreshold: 0, failureRateThreshold: 0.5, minimumRequestCount: 4});
  await run(s, succeed, succeed, fail, succeed, fail);
  assert.equal(state(), 'CLOSED');
  await run(s, fail);
  assert.equal(state(), 'OPEN');
});

test('opens at a rate of slow calls', async () => {
  const s = service({expectedResponseTime: 1e-6, slowCallRateThreshold: 1, minimumRequestCount: 2});
  await run(s, succeed, succeed);
  assert.equal(state(), 'OPEN');
});

test('slow call is a failure if the policy says so', async () => {
  const s = service({
    expectedResponseTime: 1e-6, slowCallsAreFailures: true, failureThreshold: 2,
    minimumRequestCount: 1,
  });
  await run(s, succeed, succeed);
  assert.equal(state(), 'OPEN');
});

test('quorum asks for distinct workers', async () => {
  const policy = {failureThreshold: 2, minimumRequestCount: 1, minimumFailingWorkers: 2};
  await run(service(policy, 'w1'), fail, fail, fail);
  assert.equal(state(), 'CLOSED');
  await run(service(policy, 'w2'), fail);
  assert.equal(state(), 'OPEN');
});

test('one probe at a time decides', async () => {
  const s = service({failureThreshold: 1, minimumRequestCount: 1, recoveryTimeout: 1000});
  await run(s, fail);
  transport.advance(900);
  assert.ok(await refused(s));
  transport.advance(100);
  assert.equal(state(), 'HALF_OPEN');
  let end;
  const probe = s.execute('db', 'query', () => new Promise((resolve, reject) => {
    end = reject;
  }));
  await eventually(() => end);
  assert.ok(await refused(s));
  end(new Error('still down'));
  await outcomeOf(probe);
  assert.equal(state(), 'OPEN');
  transport.advance(1000);
  await run(s, succeed);
  assert.equal(state(), 'CLOSED');
  assert.equal(transport.stats('db', 'query').totalRequests, 0, 'an empty window');
});

test('as many probes close it as the policy asks for', async () => {
  const s = service({
    failureThreshold: 1, minimumRequestCount: 1, halfOpenSuccessThreshold: 2,
  });
  await run(s, fail);
  transport.advance(30_000);
  await run(s, succeed);
  assert.equal(state(), 'HALF_OPEN');
  await run(s, succeed);
  assert.equal(state(), 'CLOSED');
});

test('probe that is never reported is abandoned', async () => {
  const s = service({failureThreshold: 1, minimumRequestCount: 1, permitTimeout: 5000});
  await run(s, fail);
  transport.advance(30_000);
  void s.execute('db', 'query', () => new Promise(() => {}));
  await eventually(() => refused(s));
  transport.advance(5000);
  await run(s, succeed);
  assert.equal(state(), 'CLOSED');
});

test('failed recoveries lengthen the OPEN time, up to a cap, with jitter', async () => {
  const s = service({
    failureThreshold: 1, minimumRequestCount: 1, recoveryTimeout: 1000,
    recoveryBackoffMultiplier: 3, maxRecoveryTimeout: 5000, recoveryJitter: 0.5,
  });
  const openTime = async () => Math.round((await run(s, succeed))[0].error.retryAfter / 100) * 100;
  await run(s, succeed);  // The breaker is there: what is drawn next is the jitter.
  await run(s, fail);
  assert.equal(await openTime(), 1000);
  transport.advance(1000);
  await run(s, fail);
  assert.equal(await openTime(), 3000);
  transport.advance(3000);
  draws = [0];
  await run(s, fail);
  assert.equal(await openTime(), 2500, 'the cap of 5000, half of it off');
});

test('recovery ramps up, and a relapse opens it at once', async () => {
  const s = service({
    failureThreshold: 1, minimumRequestCount: 5, recoveryRamp: 10_000, failureCounting: 'WINDOWED',
  });
  await run(s, succeed, succeed, succeed, succeed, fail);
  transport.advance(30_000);
  await run(s, succeed);
  assert.equal(state(), 'CLOSED');
  draws = [0.2];
  assert.ok(await refused(s), 'a tenth is admitted');
  transport.advance(5000);
  draws = [0.2];
  assert.ok(!await refused(s), 'more than a half is admitted');
  draws = [0.2];
  await run(s, fail);
  assert.equal(state(), 'OPEN', 'the minimum is waived');
});

test('shadow refuses nothing', async () => {
  const s = service({failureThreshold: 1, minimumRequestCount: 1, shadow: true});
  await run(s, fail);
  assert.equal(state(), 'OPEN');
  assert.equal((await run(s, succeed))[0].value, 'done');
  assert.equal(state(), 'OPEN');
});

test('operator forces it open and closed', async () => {
  const s = service({failureThreshold: 1, minimumRequestCount: 1});
  await run(s, succeed);
  transport.forceOpen('db', 'query');
  assert.ok(await refused(s));
  assert.equal(transport.stats('db', 'query').nextAttemptTime, null);
  transport.advance(3_600_000);
  assert.ok(await refused(s));
  transport.forceClosed('db', 'query');
  await run(s, fail, fail);
  assert.equal(state(), 'CLOSED');
  transport.clearOverride('db', 'query');
  await run(s, fail);
  assert.equal(state(), 'OPEN');
});

test('late result of a call made before the circuit opened changes nothing', async () => {
  const s = service({failureThreshold: 1, minimumRequestCount: 1});
  let end;
  const running = s.execute('db', 'query', () => new Promise((resolve) => {
    end = resolve;
  }));
  await eventually(() => end);
  await run(s, fail);
  transport.advance(30_000);
  assert.equal(state(), 'HALF_OPEN');
  end('late');
  assert.equal(await running, 'late');
  assert.equal(state(), 'HALF_OPEN');
});

for (const mode of ['remote', 'cached']) {
  test(`services share circuits, ${mode}`, async () => {
    const policy = {failureThreshold: 1, minimumRequestCount: 1};
    const [a, b] = ['w1', 'w2'].map((worker) => service(policy, worker, {mode}));
    await run(b, succeed);
    await run(a, fail);
    assert.ok(await refused(b));
    transport.advance(30_000);
    await eventually(async () => !await refused(b));
    await eventually(async () => !await refused(a));
    await Promise.all([a.close(), b.close()]);
  });
}

test('open circuit becomes half open without any traffic while it is watched', async () => {
  const s = service({failureThreshold: 1, minimumRequestCount: 1, recoveryTimeout: 20}, 'w1',
      {mode: 'cached'});
  const states = [];
  s.on('stateChange', ({to}) => states.push(to));
  await run(s, succeed);
  await run(s, fail);
  await eventually(() => states.includes('HALF_OPEN'));
  assert.deepEqual(states, ['OPEN', 'HALF_OPEN']);
  await s.close();
});

test('unavailable is as a daemon that is away', async () => {
  const s = service({failureThreshold: 1, minimumRequestCount: 1}, 'w1', {
    onDaemonUnavailable: 'deny',
  });
  await run(s, succeed);
  transport.setAvailable(false);
  assert.equal((await run(s, succeed))[0].error.reason, 'breakerd is unavailable');
  transport.setAvailable(true);
  await eventually(async () => !await refused(s));
});

test('batch counts once', async () => {
  const s = service({failureThreshold: 100}, 'w1', {mode: 'cached'});
  await run(s, succeed);
  await eventually(() => s.cache.cells.find('db', 'query').open);
  const outcomes = [{
    service: 'db', operation: 'query', generation: 1, outcome: 'FAILURE', count: 3, slowCount: 0,
    error: '',
  }];
  const batch = {workerId: 'w1', sessionId: 5n, sequence: 1, previousSequence: 0, outcomes};
  assert.equal((await transport.reportBatch(batch)).counted, 3);
  assert.deepEqual(await transport.reportBatch(batch),
      {counted: 0, stale: 0, duplicate: true, storedSequence: 1, denied: 0});
  await assert.rejects(
      transport.reportBatch({...batch, sequence: 3, previousSequence: 2}), {code: 'ABORTED'});
  assert.equal(transport.stats('db', 'query').failureCount, 3);
  await s.close();
});
