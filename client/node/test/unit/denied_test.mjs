/** @fileoverview A service that the daemon does not know, or denies a circuit. */

import assert from 'node:assert/strict';
import {mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before, beforeEach, test} from 'node:test';

import {eventually} from '../support/eventually.mjs';
import {fail, outcomeOf, succeed, useScriptedDaemon} from '../support/fixture.mjs';
import {status} from '../support/scripted_service.mjs';

const fixture = useScriptedDaemon();
const {call, follow, isCached, refusal} = fixture;

/** One failure opens the circuit, for longer than a test takes. */
const SENSITIVE = {failureThreshold: 1, minimumRequestCount: 1, recoveryTimeout: 600_000};

let folder;
let tokenFile;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'node-client-denied-'));
  tokenFile = join(folder, 'token');
});
after(() => rm(folder, {recursive: true, force: true}));
beforeEach(async () => {
  await writeFile(tokenFile, 'good');
  fixture.daemon.requireToken('good');
  fixture.daemon.beat(200);
  fixture.daemon.answerSubscriptions({policy: SENSITIVE});
});

const client = (options) => fixture.client(
    {tokenFile, tokenOverPlaintext: true, rpcTimeout: 5000, policy: SENSITIVE, ...options});

/** The token is not good any more; streams go on if `streamsToo` is not set. */
function revoke(streamsToo = false) {
  fixture.daemon.requireToken('better');
  if (!streamsToo) return;
  fixture.daemon.endStreams(status.UNAUTHENTICATED);
  fixture.daemon.endStreams(null);
}

/** Makes calls for so long at least; gives how long it was. */
const callsFor = async (milliseconds, make) => {
  const start = performance.now();
  await eventually(async () => {
    await make();
    return performance.now() > start + milliseconds;
  });
  return performance.now() - start;
};

/** Until what may be denied later is decided by the client itself. */
async function followDenied(c) {
  await eventually(async () => {
    await callDenied(c);
    return c.cache.cells.find(DENIED.service, DENIED.operation).open;
  });
}

test('service of an unknown token has a breaker of its own, until it is known', async () => {
  await writeFile(tokenFile, 'bad');
  for (const mode of ['remote', 'cached']) {
    const c = client({mode});
    assert.equal(await call(c), 'done');
    await outcomeOf(call(c, fail));
    assert.ok(await refusal(c), 'it has opened');
    assert.ok(c.daemon.isAway());
    assert.equal(await c.ready(), false);
    const {error} = await outcomeOf(c.fetchCircuitBreakerStats('db', 'query'));
    assert.equal(error.code, 'UNAUTHENTICATED');
    assert.equal(error.message, 'breakerd does not know this worker: no such token');
  }
  await writeFile(tokenFile, 'good');
  for (const c of fixture.clients) {
    await eventually(async () => !await refusal(c));
    assert.equal(await c.ready(), true);
  }
  await follow(fixture.clients[1]);
});

test('unknown token is not tried with each call', async () => {
  await writeFile(tokenFile, 'bad');
  const c = client({onDaemonUnavailable: 'allow'});
  await call(c);
  const {daemon} = fixture;
  const took = await callsFor(1000, () => call(c));
  assert.equal(daemon.deniedOf('Acquire').length, 1);
  const pings = daemon.deniedOf('ListStats').length;
  assert.ok(pings >= 1 && pings <= 2 + took / 100, `${pings} pings in ${took} ms`);
});

test('refusal says that the token is not known', async () => {
  await writeFile(tokenFile, 'bad');
  const {reason} = await refusal(client({onDaemonUnavailable: 'deny'}));
  assert.equal(reason, 'breakerd does not know this worker: no such token');
});

for (const streamsToo of [false, true]) {
  const what = streamsToo ? 'with its stream' : 'while its stream goes on';
  test(`token is revoked, ${what}, and corrected: nothing is lost, nothing spins`, async () => {
    const c = client();
    await follow(c);
    const {daemon} = fixture;
    for (let i = 0; i < 5; ++i) await call(c);
    const start = performance.now();
    revoke(streamsToo);
    await outcomeOf(call(c, fail));  // is decided by the daemon's last word still
    await eventually(async () => {
      await outcomeOf(call(c));
      return c.daemon.isAway();
    });
    await callsFor(1000, () => outcomeOf(call(c)));
    await outcomeOf(call(c, fail));
    assert.ok(await refusal(c), 'its own breaker has opened');
    const took = performance.now() - start;
    const [batches, watches] =
        ['ReportBatch', 'Watch'].map((rpc) => daemon.deniedOf(rpc).length);
    assert.ok(batches <= 2 + took / 100, `${batches} batches in ${took} ms`);
    // After 100, 200, 400, 800 ms and then each second.
    assert.ok(watches <= 5 + took / 1000, `${watches} streams in ${took} ms`);
    assert.deepEqual(daemon.failures, []);
    assert.equal(c.cacheStats().droppedOutcomes, 0);

    await writeFile(tokenFile, 'better');
    await eventually(() => isCached(c));
    assert.ok(daemon.streams >= 1);
    await eventually(() => daemon.told('SUCCESS') >= 5 && daemon.failures.length >= 1);
    assert.equal(c.cacheStats().droppedOutcomes, 0);
  });
}

test('open circuit is probed without the daemon when its time is over', async () => {
  fixture.daemon.answerSubscriptions(
      {policy: SENSITIVE, state: 'OPEN', generation: 2, retryAfter: 300});
  fixture.daemon.answerAcquire({state: 'OPEN', generation: 2, retryAfter: 300});
  const c = client();
  assert.ok(await refusal(c));
  await eventually(() => fixture.daemon.subscriptions.length > 0);
  revoke();
  await eventually(async () => (await outcomeOf(call(c))).value === 'done');
});

// ---------------------------------------------------------------------------------------------
// Denied circuits

const DENIED = {service: 'billing', operation: 'charge'};
const callDenied = (c, fn = succeed) =>
  outcomeOf(c.execute(DENIED.service, DENIED.operation, fn));
const askedFor = (service) =>
  fixture.daemon.deniedOf('Acquire').filter(({names: [name]}) => name.service === service).length;

test('denied circuit has a breaker of its own, and the others are as ever', async () => {
  const {daemon} = fixture;
  daemon.denied.add(DENIED.service);
  const c = client();
  await follow(c);
  const took = await callsFor(
      1500, async () => assert.equal((await callDenied(c)).value, 'done'));
  const asked = askedFor(DENIED.service);
  assert.ok(asked >= 2 && asked <= 2 + took / 1000, `asked ${asked} times in ${took} ms`);
  assert.ok(!c.daemon.isAway());
  assert.ok(await isCached(c));

  await callDenied(c, fail);
  const {error} = await callDenied(c);
  assert.equal(error.name, 'CircuitOpenError');
  assert.ok(await isCached(c));

  daemon.denied.clear();
  await eventually(async () => (await callDenied(c)).value === 'done');
  await followDenied(c);
});

test('refusal says that the circuit is denied', async () => {
  fixture.daemon.denied.add(DENIED.service);
  const c = client({onDaemonUnavailable: 'deny'});
  for (let i = 0; i < 2; ++i) {
    const {error} = await callDenied(c);
    assert.equal(error.reason, 'breakerd denies it: not for billing');
  }
  assert.equal(askedFor(DENIED.service), 1);
});

for (const mode of ['remote', 'cached']) {
  test(`denied circuit is allowed if so asked, ${mode}`, async () => {
    fixture.daemon.denied.add(DENIED.service);
    const c = client({mode, onDaemonUnavailable: 'allow'});
    const took = await callsFor(
        100, async () => assert.equal((await callDenied(c)).value, 'done'));
    assert.ok(askedFor(DENIED.service) <= 1 + took / 1000);
  });
}

test('circuit that is denied later does not end the stream of the others for long', async () => {
  const {daemon} = fixture;
  const c = client();
  await follow(c);
  await followDenied(c);
  daemon.denied.add(DENIED.service);
  daemon.endStreams(status.UNAVAILABLE);
  daemon.endStreams(null);
  // The new stream ends by the subscription that is denied.
  await eventually(async () => {
    await callDenied(c);
    return !c.cache.cells.find(DENIED.service, DENIED.operation).subscribed;
  });
  await eventually(() => isCached(c));
  const {watches} = daemon;
  await callsFor(1200, async () => assert.equal((await callDenied(c)).value, 'done'));
  assert.ok(daemon.watches - watches <= 1, `${daemon.watches - watches} streams more`);
  await eventually(() => isCached(c));
});

test('outcomes of a circuit that is denied while they wait hold up the others for a while',
    async () => {
      const {daemon} = fixture;
      const c = client();
      await follow(c);
      await followDenied(c);
      daemon.denied.add(DENIED.service);
      await callDenied(c, fail);
      await eventually(() => daemon.deniedOf('ReportBatch').length > 0);
      await eventually(() => isCached(c));
      const succeeded = daemon.told('SUCCESS');
      await call(c);
      await eventually(() => daemon.told('SUCCESS') > succeeded);
      const tries = daemon.deniedOf('ReportBatch').length;
      assert.ok(tries >= 2 && tries <= 60, `${tries} tries`);
      assert.equal(c.cacheStats().droppedOutcomes, 1);
      assert.equal((await callDenied(c)).value, 'done', 'by its own breaker');
      assert.ok(!c.cache.cells.find(DENIED.service, DENIED.operation).open);
    });

test('of outcomes that go together only those of the denied circuit are dropped', async () => {
  const {daemon} = fixture;
  const c = client();
  await follow(c);
  await followDenied(c);
  await c.cache.flush(5000);
  daemon.denied.add(DENIED.service);
  daemon.hang();
  await outcomeOf(call(c, fail));
  await eventually(() => daemon.failures.length === 1);
  await callDenied(c, fail);
  await outcomeOf(call(c, fail));
  daemon.release();
  await eventually(() => c.cacheStats().droppedOutcomes === 1);
  assert.equal(daemon.batches.at(-1).outcomes.length, 1);
  assert.equal(daemon.batches.at(-1).outcomes[0].service, 'db');
  assert.deepEqual(daemon.deniedOf('ReportBatch'), []);
  assert.equal((await callDenied(c)).value, 'done', 'by its own breaker');
  assert.ok(!c.cache.cells.find(DENIED.service, DENIED.operation).open);
});
