/** @fileoverview A service that asks for each call, and a daemon that is not there. */

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {CircuitBreakerService} from 'breakerd-client';

import {eventually} from '../support/eventually.mjs';
import {fail, outcomeOf, succeed, useScriptedDaemon} from '../support/fixture.mjs';
import {Outcome, status} from '../support/scripted_service.mjs';

const fixture = useScriptedDaemon();
const {call, refusal} = fixture;

// Long enough for an rpc on a loaded machine, and long enough that many would be noticed.
const TIMEOUT_MS = 1000;
const client = (options) => fixture.client(
    {mode: 'remote', rpcTimeout: TIMEOUT_MS, onDaemonUnavailable: 'allow', ...options});
/** The daemon has answered, so the client has a connection. */
const connect = (of) => eventually(async () => {
  const asked = fixture.daemon.acquires.length;
  await outcomeOf(call(of));
  return fixture.daemon.acquires.length > asked && !of.daemon.isAway();
});

test('defaults', () => {
  const {settings} = fixture.client({rpcTimeout: undefined});
  assert.equal(settings.rpcTimeout, 50);
  assert.equal(settings.onDaemonUnavailable, 'local');
  assert.equal(settings.mode, 'cached');
  assert.match(settings.workerId, /:\d+$/);
});

test('call is allowed if so asked', async () => {
  const c = client();
  fixture.daemon.stop();
  assert.equal(await call(c), 'done');
});

test('call is denied if so asked', async () => {
  const c = client({onDaemonUnavailable: 'deny'});
  fixture.daemon.stop();
  let ran = false;
  const {error} = await outcomeOf(call(c, () => ran = true));
  assert.equal(error.name, 'CircuitOpenError');
  assert.ok(error.retryAfter > 0);
  assert.ok(!ran);
});

test('daemon that never answers costs one deadline', async () => {
  const c = client();
  await connect(c);
  const asked = fixture.daemon.acquires.length;
  fixture.daemon.hang();
  const start = performance.now();
  for (let i = 0; i < 100; ++i) {
    assert.equal(await call(c), 'done');
    await outcomeOf(c.fetchCircuitBreakerStats('db', 'query'));
  }
  assert.ok(performance.now() - start < 2 * TIMEOUT_MS);
  assert.equal(fixture.daemon.acquires.length, asked + 1);
});

test('permit that comes too late is given back', async () => {
  const c = client({rpcTimeout: 100});
  await connect(c);
  fixture.daemon.hang();
  const {reports: {length: before}} = fixture.daemon;
  assert.equal(await call(c), 'done');
  fixture.daemon.release();
  await eventually(() => fixture.daemon.reports.length > before);
  const report = fixture.daemon.reports.at(-1);
  assert.equal(report.permitId, 7n);
  assert.equal(report.outcome, Outcome.IGNORED);
});

test('daemon that is absent from the start costs nothing', async () => {
  fixture.daemon.stop();
  const c = client({rpcTimeout: 10_000, mode: 'cached', onDaemonUnavailable: 'local'});
  const start = performance.now();
  for (let i = 0; i < 100; ++i) assert.equal(await call(c), 'done');
  assert.ok(performance.now() - start < 5000, 'not one deadline');
});

test('pings go out one at a time', async () => {
  const c = client();
  await connect(c);
  fixture.daemon.hang();
  await call(c);
  await eventually(async () => {
    await call(c);
    return fixture.daemon.pings === 1;
  });
  const end = performance.now() + 500;  // several ping intervals, all within its deadline
  await eventually(async () => {
    await call(c);
    return performance.now() > end;
  });
  assert.equal(fixture.daemon.pings, 1);
});

test('daemon that answers again is asked again', async () => {
  const c = client();
  await connect(c);
  fixture.daemon.hang();
  await call(c);
  fixture.daemon.release();
  await connect(c);
});

test('restarted daemon is asked again', async () => {
  const c = client();
  await connect(c);
  fixture.daemon.stop();
  await call(c);
  assert.ok(c.daemon.isAway());
  await fixture.daemon.start();
  await connect(c);
});

test('rpc that is cut off by a shutdown means away', async () => {
  const c = client();
  await connect(c);
  fixture.daemon.fail(status.CANCELLED);
  assert.equal(await call(c), 'done');
  assert.ok(c.daemon.isAway());
});

test('error of the daemon does not stop the call', async () => {
  fixture.daemon.fail(status.RESOURCE_EXHAUSTED);
  assert.equal(await call(client()), 'done');
  assert.equal((await refusal(client({onDaemonUnavailable: 'deny'}))).state, 'OPEN');
});

test('lost report is lost quietly', async () => {
  const c = client();
  await connect(c);
  assert.equal(await call(c, async () => {
    fixture.daemon.stop();
    return 'done';
  }), 'done');
  assert.equal((await outcomeOf(c.fetchCircuitBreakerStats('db', 'query'))).error.code,
      'UNAVAILABLE');
});

test('ready says whether the daemon answers', async () => {
  const c = client();
  assert.equal(await c.ready(), true);
  fixture.daemon.stop();
  assert.equal(await c.ready(), false);
});

test('no daemon, no rejection that is handled by no one', async () => {
  const c = new CircuitBreakerService({target: 'no.such.host.invalid:1', rpcTimeout: 20});
  for (let i = 0; i < 5; ++i) {
    await outcomeOf(c.execute('a', 'b', fail, null, {timeout: 1000}));
    c.getCircuitBreakerStats('a', 'b');
    assert.equal(await c.execute('a', String(i), succeed), 'done');
  }
  await c.close();
});
