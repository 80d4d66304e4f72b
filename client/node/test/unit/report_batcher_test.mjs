/** @fileoverview What is sent, kept and given up; against a transport that does as it is told. */

import assert from 'node:assert/strict';
import {test} from 'node:test';

import {Cell} from '../../dist/esm/cell.js';
import {BreakerdError} from '../../dist/esm/errors.js';
import {Ledger} from '../../dist/esm/ledger.js';
import {ReportBatcher} from '../../dist/esm/report_batcher.js';
import {eventually} from '../support/eventually.mjs';

class Transport {
  batches = [];
  denied = 0;
  waiting = null;
  /** The last batch that was accepted. */
  applied = 0;

  reportBatch(request) {
    this.batches.push(request);
    if (request.previousSequence > this.applied) {
      return Promise.reject(new BreakerdError('ABORTED', 'batches are missing'));
    }
    this.applied = Math.max(this.applied, request.sequence);
    const {denied} = this;
    const answer = {counted: 1, stale: 0, duplicate: false, storedSequence: 0, denied};
    if (this.waiting === null) return Promise.resolve(answer);
    return new Promise((resolve) => this.waiting.push(() => resolve(answer)));
  }

  get sizes() {
    return this.batches.map(({outcomes}) => outcomes.length);
  }

  get sequences() {
    return this.batches.map(({sequence}) => sequence);
  }

  get runs() {
    return this.sizes.reduce((sum, size) => sum + size, 0);
  }
}

function setUp(limits) {
  const transport = new Transport();
  const ledger = new Ledger();
  const around = {workerId: 'w1', ledger, trustedUntil: Infinity, onStateChange: () => {}};
  const cells = [];
  const batcher = new ReportBatcher(transport, 'w1', ledger, limits);
  return {
    transport, ledger, batcher, around,
    /** One run in each of as many cells. */
    makeRuns(count) {
      while (cells.length < count) cells.push(new Cell('db', String(cells.length), around));
      for (const cell of cells.slice(0, count)) cell.record(1, 'FAILURE', 'x', 0);
    },
  };
}

test('nothing goes out without a stream', async () => {
  const {transport, batcher, makeRuns} = setUp();
  makeRuns(1);
  await batcher.drain(1000);
  assert.equal(transport.batches.length, 0);
  batcher.setConnected(true);
  await eventually(() => transport.batches.length === 1);
});

test('nothing to send is no batch', async () => {
  const {transport, batcher} = setUp();
  batcher.setConnected(true);
  await batcher.drain(1000, true);
  assert.equal(transport.batches.length, 0);
});

test('many runs go in several batches', async () => {
  const {transport, batcher, makeRuns} = setUp();
  batcher.setConnected(true);
  makeRuns(3500);
  await eventually(() => transport.runs === 3500);
  assert.equal(transport.batches.length, 4);
  assert.ok(transport.sizes.every((size) => size <= 1000));
});

test('one batch is under way at a time', async () => {
  const {transport, batcher, makeRuns} = setUp();
  batcher.setConnected(true);
  transport.waiting = [];
  makeRuns(1);
  await eventually(() => transport.batches.length === 1);
  makeRuns(1);
  const again = batcher.drain(20);  // in vain
  await again;
  assert.equal(transport.batches.length, 1);
  const {waiting} = transport;
  transport.waiting = null;
  for (const answer of waiting) answer();
  await eventually(() => transport.batches.length === 2);
});

/** Sends ten batches of 40 runs, loses the connection, and gives how many are sent again. */
async function sentAgain(limits) {
  const {transport, batcher, makeRuns} = setUp(limits);
  batcher.setConnected(true);
  for (let round = 1; round <= 10; ++round) {
    makeRuns(40);
    await eventually(() => transport.runs === round * 40);
  }
  await batcher.drain(1000);
  batcher.setConnected(false);
  batcher.setConnected(true);
  makeRuns(2);  // the last to come
  await eventually(() => transport.sizes.at(-1) === 2);
  return transport.runs - 400 - 2;
}

const ANY = {batches: 4096, runs: 32_768, age: 300_000, denied: 5000};

test('what is not stored is sent again', async () => {
  assert.equal(await sentAgain(ANY), 400);
});
test('runs that are kept are bounded', async () => {
  assert.equal(await sentAgain({...ANY, runs: 100}), 80);
});
test('batches that are kept are bounded', async () => {
  assert.equal(await sentAgain({...ANY, batches: 3}), 120);
});
test('nothing is kept for longer than its time', async () => {
  assert.equal(await sentAgain({...ANY, age: 0}), 0);
});

test('what is too old is not sent on the next connection', async () => {
  const {transport, batcher, makeRuns} = setUp({...ANY, age: 50});
  batcher.setConnected(true);
  makeRuns(1);
  await batcher.drain(1000);
  const answered = performance.now();
  await eventually(() => performance.now() > answered + 60);
  batcher.setConnected(false);
  batcher.setConnected(true);
  makeRuns(1);
  await eventually(() => transport.batches.length === 2);
  await batcher.drain(1000);
  assert.deepEqual(transport.sequences, [1, 2]);
});

test('many successes are not left waiting', async () => {
  const {transport, batcher, around} = setUp();
  batcher.setConnected(true);
  const cell = new Cell('db', 'query', around);
  cell.update({
    service: 'db', operation: 'query', state: 'CLOSED', generation: 1, retryAfter: 0,
    override: null, policy: {expectedResponseTime: 1000, monitoringWindow: 60_000},
    transition: null, rampFraction: 1, removed: false,
  }, 1, 0);
  const start = performance.now();
  for (let i = 0; i < 4096; ++i) cell.succeeded(1, start, 0);
  await eventually(() => transport.runs === 1);
  assert.equal(transport.batches[0].outcomes[0].count, 4096);
});

test('runs that wait are bounded: outcomes join their kind, and what finds none is counted', () => {
  const {ledger, around} = setUp();
  const cell = new Cell('db', 'query', around);
  for (let i = 0; i < 400; ++i) cell.record(1, 'FAILURE', `e${i}`, 0);
  cell.record(2, 'FAILURE', 'x', 0);
  assert.equal(ledger.dropped, 1);
  const runs = [];
  assert.equal(cell.takeRuns(1000, runs), false);
  assert.equal(runs.length, 256);
  assert.equal(runs.reduce((sum, {count}) => sum + count, 0), 400);
  for (let i = 0; i < 100; ++i) {
    const other = new Cell('db', String(i), around);
    for (let j = 0; j < 50; ++j) other.record(1, 'FAILURE', `e${j}`, 0);
  }
  assert.ok(!ledger.hasRoom());
});

test('failure goes out at once; successes wait for more', async () => {
  const {transport, batcher, around} = setUp();
  batcher.setConnected(true);
  const cell = new Cell('db', 'query', around);
  cell.update({
    service: 'db', operation: 'query', state: 'CLOSED', generation: 1, retryAfter: 0,
    override: null, policy: {expectedResponseTime: 1000, monitoringWindow: 60_000},
    transition: null, rampFraction: 1, removed: false,
  }, 1, 0);
  const turns = async () => {
    for (let i = 0; i < 3; ++i) await new Promise(setImmediate);
  };
  await turns();
  const start = performance.now();
  cell.succeeded(1, start, 0);
  await turns();
  const sent = transport.batches.length;
  if (performance.now() - start < 90) assert.equal(sent, 0);
  cell.record(1, 'FAILURE', 'x', 0);
  await turns();
  assert.equal(transport.batches.length, sent + 1);
  assert.equal(transport.batches.at(-1).outcomes.at(-1).outcome, 'FAILURE');
});

for (const [code, what] of [
  ['UNAUTHENTICATED', 'is sent again until the worker is known'],
  ['PERMISSION_DENIED', 'is sent again for a while, and then given up'],
]) {
  test(`batch that is denied ${what}, ${code}`, async () => {
    const {transport, batcher, ledger, makeRuns} = setUp({...ANY, denied: 250});
    let denials = 0;
    batcher.onDenied = () => ++denials;
    const send = transport.reportBatch.bind(transport);
    transport.reportBatch = (request) => {
      transport.batches.push(request);
      return Promise.reject(new BreakerdError(code, 'no'));
    };
    batcher.setConnected(true);
    makeRuns(1);
    const start = performance.now();
    if (code === 'UNAUTHENTICATED') {
      await eventually(() => transport.batches.length === 6);
      assert.ok(performance.now() - start >= 450, 'with a wait in between');
      assert.equal(ledger.dropped, 0);
    } else {
      await eventually(() => ledger.dropped === 1);
      const tries = transport.batches.length;
      assert.ok(tries >= 2 && tries <= 4, `${tries} tries`);
    }
    assert.equal(denials, code === 'UNAUTHENTICATED' ? 1 : 2, 'when it begins, and is given up');
    assert.equal(new Set(transport.batches.map(({sequence}) => sequence)).size, 1);
    transport.reportBatch = send;
    makeRuns(1);
    await eventually(() => transport.batches.at(-1).sequence === 2);
  });
}

test('several batches that are denied hold up the others once', async () => {
  const {transport, batcher, ledger, around} = setUp({...ANY, denied: 250});
  const denied = new Cell('billing', 'charge', around);
  const other = new Cell('db', 'query', around);
  const accepted = [];
  transport.reportBatch = (request) => {
    if (request.outcomes.some(({service}) => service === 'billing')) {
      return Promise.reject(new BreakerdError('PERMISSION_DENIED', 'no'));
    }
    accepted.push(request);
    return Promise.resolve(
        {counted: 1, stale: 0, duplicate: false, storedSequence: 0, denied: 0});
  };
  batcher.setConnected(true);
  const start = performance.now();
  for (let i = 1; i <= 20; ++i) {
    denied.record(1, 'FAILURE', 'x', 0);
    await eventually(() => ledger.dropped === i);
    other.record(1, 'FAILURE', 'x', 0);
    await eventually(() => accepted.length === i);
  }
  assert.ok(performance.now() - start < 4500, 'not 20 times');
});

test('batch that is given up is not sent again', async () => {
  const {transport, batcher, ledger, makeRuns} = setUp({...ANY, denied: 0});
  batcher.setConnected(true);
  makeRuns(1);
  await eventually(() => transport.batches.length === 1);
  const send = transport.reportBatch;
  transport.reportBatch = (request) => {
    transport.batches.push(request);
    return Promise.reject(new BreakerdError('PERMISSION_DENIED', 'no'));
  };
  makeRuns(3);
  await eventually(() => ledger.dropped === 3);
  transport.reportBatch = send;
  batcher.setConnected(false);
  batcher.setConnected(true);
  makeRuns(1);
  await eventually(() => transport.batches.at(-1).sequence === 3);
  assert.deepEqual(transport.sequences, [1, 2, 1, 3]);
  assert.equal(ledger.dropped, 3);
});

test('outcomes that are left out count once, however often they are sent', async () => {
  const {transport, batcher, ledger, makeRuns} = setUp();
  let denials = 0;
  batcher.onDenied = () => ++denials;
  batcher.setConnected(true);
  transport.denied = 2;
  makeRuns(3);
  await eventually(() => ledger.dropped === 2);
  batcher.setConnected(false);
  batcher.setConnected(true);
  makeRuns(1);
  await eventually(() => transport.batches.length === 3);
  await batcher.drain(1000);
  assert.deepEqual(transport.sequences, [1, 1, 2]);
  assert.equal(ledger.dropped, 4, 'two of each batch');
  assert.equal(denials, 1, 'when it begins');
});

test('all that is kept is sent again, in order, to a daemon that has not had it', async () => {
  const {transport, batcher, makeRuns} = setUp();
  batcher.setConnected(true);
  for (let i = 1; i <= 3; ++i) {
    makeRuns(1);
    await batcher.drain(1000);
  }
  transport.applied = 0;  // Another one is there, unnoticed.
  makeRuns(1);
  await eventually(() => transport.applied === 4);
  assert.deepEqual(transport.sequences, [1, 2, 3, 4, 1, 2, 3, 4]);
  assert.deepEqual(transport.batches.map(({previousSequence}) => previousSequence),
      [0, 1, 2, 3, 0, 1, 2, 3]);
});

test('farewell waits until all is sent again', async () => {
  const {transport, batcher, makeRuns} = setUp();
  batcher.setConnected(true);
  makeRuns(1);
  await batcher.drain(1000);
  transport.applied = 0;
  makeRuns(1);
  await batcher.drain(10_000, true);
  assert.deepEqual(transport.sequences, [1, 2, 1, 2]);
});

for (const [what, limits] of [
  ['for too long', {age: 50}], ['in too many batches', {batches: 0}], ['too many runs', {runs: 0}],
]) {
  test(`what is not kept any more is not waited for: ${what}`, async () => {
    const {transport, batcher, makeRuns} = setUp({...ANY, ...limits});
    batcher.setConnected(true);
    makeRuns(1);
    await batcher.drain(1000);
    const answered = performance.now();
    await eventually(() => performance.now() > answered + 60);
    transport.applied = 0;
    makeRuns(1);
    await eventually(() => transport.applied === 2);
    assert.deepEqual(transport.sequences, [1, 2]);
  });
}

test('batch that was given up is not waited for', async () => {
  const {transport, batcher, ledger, makeRuns} = setUp({...ANY, denied: 0});
  const send = transport.reportBatch;
  transport.reportBatch = () => Promise.reject(new BreakerdError('PERMISSION_DENIED', 'no'));
  batcher.setConnected(true);
  makeRuns(1);
  await eventually(() => ledger.dropped === 1);
  transport.reportBatch = send;
  makeRuns(1);
  await eventually(() => transport.applied === 2);
  assert.equal(transport.batches[0].previousSequence, 0);
});
