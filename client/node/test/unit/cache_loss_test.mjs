/** @fileoverview A service in cached mode, and a daemon that falls silent, or goes and returns. */

import assert from 'node:assert/strict';
import {beforeEach, test} from 'node:test';

import {eventually} from '../support/eventually.mjs';
import {NAME, fail, outcomeOf, succeed, useScriptedDaemon} from '../support/fixture.mjs';
import {status} from '../support/scripted_service.mjs';

const fixture = useScriptedDaemon();
const {call, follow, isCached, refusal} = fixture;

/** One failure opens the circuit, for longer than a test takes. */
const SENSITIVE = {failureThreshold: 1, minimumRequestCount: 1, recoveryTimeout: 600_000};

// Long enough for an rpc on a loaded machine.
const client = (options) => fixture.client({rpcTimeout: 1000, ...options});
const isAway = (of) => of.daemon.isAway();
/** The trust in the cache is over. */
const lose = (of) => eventually(async () => {
  await outcomeOf(call(of, succeed));
  return isAway(of) && performance.now() >= of.cache.surroundings.trustedUntil;
});

beforeEach(() => {
  fixture.daemon.beat(200);
  fixture.daemon.answerSubscriptions({policy: SENSITIVE});
});

test('silent stream is not believed after three heartbeats', async () => {
  const c = client();
  await follow(c);
  fixture.daemon.fallSilent();
  const start = performance.now();
  await eventually(async () => !await isCached(c));
  assert.ok(performance.now() - start > 350);
  const asked = fixture.daemon.acquires.length;
  assert.equal(await call(c), 'done');
  assert.equal(fixture.daemon.acquires.length, asked + 1);
});

test('silent stream is replaced', async () => {
  const c = client();
  await follow(c);
  fixture.daemon.fallSilent();
  await eventually(() => fixture.daemon.subscriptions.length >= 2);
  fixture.daemon.speakAgain();
  await eventually(() => isCached(c));
});

test('cache is believed for a while when the daemon dies', async () => {
  fixture.daemon.beat(600_000);
  const c = client();
  await follow(c);
  fixture.daemon.stop();
  const asked = fixture.daemon.acquires.length;
  assert.equal(await call(c), 'done');
  assert.equal(fixture.daemon.acquires.length, asked);
  assert.ok(!isAway(c));
});

test('first word of a new stream counts, though the daemon has lost its memory', async () => {
  fixture.daemon.answerSubscriptions({generation: 5, policy: SENSITIVE});
  const c = client();
  await follow(c);
  fixture.daemon.stop();
  fixture.daemon.answerSubscriptions({state: 'OPEN', generation: 2, retryAfter: 60_000});
  await fixture.daemon.start();
  await eventually(() => c.getCircuitBreakerStats('db', 'query').state === 'OPEN');
  assert.ok(await refusal(c));
});

test('what a new stream does not confirm is doubted once its time is over', async () => {
  const c = client();
  await follow(c);
  await c.execute('db', 'other', succeed);
  await eventually(() => fixture.daemon.subscriptions.length === 2);
  fixture.daemon.ignoreSubscriptions();
  fixture.daemon.endStreams(status.UNAVAILABLE);
  fixture.daemon.endStreams(null);
  await eventually(() => fixture.daemon.subscriptions.length === 4);
  // Heartbeats alone come on the new stream.
  await eventually(async () => !await isCached(c));
});

test('breaker of the process\'s own decides when the daemon is away', async () => {
  const c = client();
  await follow(c);
  fixture.daemon.stop();
  await lose(c);
  const changes = [];
  c.on('stateChange', (change) => changes.push(change));
  assert.equal((await outcomeOf(call(c, fail))).error.message, 'down');
  const error = await refusal(c);
  assert.equal(error.state, 'OPEN');
  assert.ok(error.retryAfter > 500_000);
  assert.match(error.reason, /^1 consecutive failure \(threshold 1\)/);
  const stats = c.getCircuitBreakerStats('db', 'query');
  assert.equal(stats.state, 'OPEN');
  assert.equal(stats.failureCount, 1);
  assert.ok(stats.nextAttemptTime > new Date());
  assert.equal(changes.length, 1);
  assert.equal(changes[0].to, 'OPEN');
  assert.ok(changes[0].local);
});

test('what was counted meanwhile is forgotten when the daemon is back', async () => {
  const c = client();
  await follow(c);
  fixture.daemon.stop();
  await lose(c);
  await outcomeOf(call(c, fail));
  assert.ok(await refusal(c));
  await fixture.daemon.start();
  await eventually(() => isCached(c));
  assert.equal(await call(c), 'done');
  await outcomeOf(call(c, async () => {
    throw Object.assign(new Error(), {name: 'After'});
  }));
  await eventually(() => fixture.daemon.failures.length > 0);
  assert.deepEqual(fixture.daemon.failures, ['After']);
});

test('known OPEN holds for its time, and then one call probes', async () => {
  const c = client();
  await follow(c);
  fixture.daemon.push(
      NAME, {state: 'OPEN', generation: 2, retryAfter: 2000, policy: SENSITIVE});
  await eventually(() => refusal(c));
  const start = performance.now();
  fixture.daemon.stop();
  await eventually(async () => {
    assert.ok(await refusal(c) || performance.now() - start > 1500);
    return performance.now() - start > 1000;
  });
  let end;
  let probe;
  await eventually(async () => {
    const started = await new Promise((resolve) => {
      probe = call(c, () => new Promise((done) => {
        end = done;
        resolve(true);
      }));
      probe.catch(() => resolve(false));
    });
    return started;
  });
  assert.ok(performance.now() - start > 1500);
  assert.ok(await refusal(c));
  end('recovered');
  assert.equal(await probe, 'recovered');
  assert.equal(await call(c), 'done');
});

test('allow and deny hold for a cached service too', async () => {
  const allowing = client({onDaemonUnavailable: 'allow'});
  const denying = client({onDaemonUnavailable: 'deny'});
  await follow(allowing);
  await follow(denying);
  fixture.daemon.stop();
  await lose(allowing);
  await lose(denying);
  assert.equal(await call(allowing), 'done');
  assert.equal((await refusal(denying)).reason, 'breakerd is unavailable');
  assert.equal(await call(denying, succeed, undefined, () => 'fallback'), 'fallback');
});

test('remote service has a breaker of its own too', async () => {
  const c = client({mode: 'remote', policy: SENSITIVE});
  fixture.daemon.stop();
  await outcomeOf(call(c, fail));
  await outcomeOf(call(c, fail));
  assert.ok(await refusal(c));
  await fixture.daemon.start();
  await eventually(async () => !await refusal(c));
  assert.equal(fixture.daemon.streams, 0);
});

test('all is subscribed to again', async () => {
  const c = client();
  await follow(c);
  await c.execute('db', 'insert', succeed, null, {failureThreshold: 3});
  await eventually(() => fixture.daemon.subscriptions.length === 2);
  fixture.daemon.stop();
  await fixture.daemon.start();
  await eventually(() => fixture.daemon.subscriptions.length === 4);
  assert.equal(fixture.daemon.subscriptions.filter(
      ({policy}) => policy?.failureThreshold === 3).length, 2);
});

test('stream that is rejected begins anew with the next calls', async () => {
  const c = client();
  await follow(c);
  fixture.daemon.endStreams(status.INVALID_ARGUMENT);
  await eventually(async () => !await isCached(c));
  fixture.daemon.endStreams(null);
  await eventually(() => isCached(c));
});

test('unanswered batch is sent again under its number', async () => {
  const c = client();
  await follow(c);
  const before = fixture.daemon.batches.length;
  const failAs = (name) => outcomeOf(call(c, async () => {
    throw Object.assign(new Error(), {name});
  }));
  fixture.daemon.failBatches(status.UNAVAILABLE, 'busy');
  await failAs('first');
  await eventually(() => fixture.daemon.batches.length >= before + 2);
  await failAs('second');  // It waits for its turn.
  fixture.daemon.failBatches(null);
  await eventually(() => fixture.daemon.failures.at(-1) === 'second');
  const {batches} = fixture.daemon;
  for (let i = before + 1; i + 1 < batches.length; ++i) {
    assert.deepEqual(batches[i], batches[before]);
  }
  assert.equal(batches.at(-1).sequence, batches[before].sequence + 1n);
  assert.equal(c.cacheStats().droppedOutcomes, 0);
});

test('what is not stored is sent again in order on the next connection', async () => {
  const c = client();
  await follow(c);
  const failAs = async (name) => {
    const before = fixture.daemon.failures.length;
    await outcomeOf(call(c, async () => {
      throw Object.assign(new Error(), {name});
    }));
    if (name !== 'd') await eventually(() => fixture.daemon.failures.length === before + 1);
  };
  for (const name of ['a', 'b', 'c']) await failAs(name);
  fixture.daemon.stop();
  await failAs('d');
  await fixture.daemon.start();
  await eventually(() => fixture.daemon.failures.length >= 7);
  assert.deepEqual(fixture.daemon.failures, ['a', 'b', 'c', 'a', 'b', 'c', 'd']);

  fixture.daemon.storeUpTo(1_000_000);
  await failAs('e');
  fixture.daemon.stop();
  await fixture.daemon.start();
  await eventually(() => isCached(c));
  await failAs('f');
  assert.deepEqual(fixture.daemon.failures.slice(7), ['e', 'f']);
});

for (const [what, act] of [
  ['is away', (daemon) => daemon.stop()], ['hangs', (daemon) => daemon.hang()],
]) {
  test(`service closes soon when the daemon ${what}`, async () => {
    const c = client();
    await follow(c);
    act(fixture.daemon);
    await outcomeOf(call(c, fail));
    const start = performance.now();
    await c.close();
    assert.ok(performance.now() - start < 5000);
    // A service that is closed is as one whose daemon is away.
    assert.equal(await c.execute('some', 'other', succeed), 'done');
  });
}
