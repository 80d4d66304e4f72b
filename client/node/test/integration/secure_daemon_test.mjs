/** @fileoverview Services against a real daemon that speaks TLS and knows its workers. */

import assert from 'node:assert/strict';
import {createHash} from 'node:crypto';
import {rename, writeFile} from 'node:fs/promises';
import {after, afterEach, before, beforeEach, test} from 'node:test';

import {CircuitBreakerService} from 'breakerd-client';

import {CertificateFolder} from '../support/certificates.mjs';
import {DaemonProcess} from '../support/daemon_process.mjs';
import {PATIENCE_MS, eventually} from '../support/eventually.mjs';
import {fail, outcomeOf, succeed} from '../support/fixture.mjs';

/** One failure opens the circuit, for longer than a test takes. */
const SENSITIVE = {failureThreshold: 1, minimumRequestCount: 1, recoveryTimeout: 600_000};

let folder;
let ca;
let worker;
let daemon;
let tokenFile;
const clients = [];

before(async () => {
  folder = await CertificateFolder.make();
  ca = await folder.authority('ca');
  const own = await folder.issue(ca, 'breakerd', {dns: ['localhost'], ips: ['127.0.0.1']});
  worker = await folder.issue(ca, 'chat-worker', {dns: ['chat.workers.example']});
  tokenFile = folder.file('token');
  await know('first');
  daemon = await DaemonProcess.start([
    '--tls_cert', own.cert, '--tls_key', own.key, '--tls_client_ca', ca.certificate,
    '--tls_client_auth', 'optional', '--identities', folder.file('identities.yaml'),
  ]);
});
after(async () => {
  await daemon?.stop();
  await folder.remove();
});
beforeEach(async () => {
  await know('first');
  await writeFile(tokenFile, 'first');
});
afterEach(() => Promise.all(clients.splice(0).map((client) => client.close())));

/** From then on workers are known by this token, or by the certificate. */
async function know(token) {
  const hash = createHash('sha256').update(token).digest('hex');
  const path = folder.file('identities.yaml');
  await writeFile(`${path}.new`, `identities:
  - name: chat-workers
    role: worker
    token_sha256: ${hash}
    certificate: chat.workers.example
    services: [chat]
`);
  await rename(`${path}.new`, path);
}

function client(options) {
  const client = new CircuitBreakerService({
    target: daemon.target, tls: {ca: ca.certificate}, rpcTimeout: PATIENCE_MS, policy: SENSITIVE,
    ...options,
  });
  clients.push(client);
  return client;
}

const isCached = (c, operation) => c.cache.cells.find('chat', operation)?.open === true;
const follow = (c, operation) => eventually(async () => {
  await outcomeOf(c.execute('chat', operation, succeed));
  return isCached(c, operation);
});
const isRefused = async (c, operation) =>
  (await outcomeOf(c.execute('chat', operation, succeed))).error?.name === 'CircuitOpenError';

test('workers of a token and of a certificate share a circuit', async () => {
  const one = client({tokenFile});
  const other = client({tls: {ca: ca.certificate, ...worker}, target: byName()});
  assert.equal(await one.ready(PATIENCE_MS), true);
  assert.equal(await other.ready(PATIENCE_MS), true);
  await follow(one, 'shared');
  await follow(other, 'shared');
  await outcomeOf(one.execute('chat', 'shared', fail));
  await eventually(() => isRefused(other, 'shared'));
  assert.equal((await other.fetchCircuitBreakerStats('chat', 'shared')).state, 'OPEN');
});

const byName = () => daemon.target.replace('127.0.0.1', 'localhost');

test('worker that is no one has a breaker of its own', async () => {
  for (const options of [{}, {token: 'wrong'}]) {
    const c = client(options);
    assert.equal(await c.execute('chat', 'unknown', succeed), 'done');
    assert.equal(await c.ready(PATIENCE_MS), false);
    const {error} = await outcomeOf(c.fetchCircuitBreakerStats('chat', 'unknown'));
    assert.equal(error.code, 'UNAUTHENTICATED');
    await outcomeOf(c.execute('chat', 'unknown', fail));
    assert.ok(await isRefused(c, 'unknown'));
  }
});

test('service that is for others is denied, and nothing else', async () => {
  const c = client({tokenFile});
  await follow(c, 'allowed');
  assert.equal(await c.execute('billing', 'charge', succeed), 'done');
  const {error} = await outcomeOf(c.fetchCircuitBreakerStats('billing', 'charge'));
  assert.equal(error.code, 'PERMISSION_DENIED');
  await outcomeOf(c.execute('billing', 'charge', fail));
  assert.equal((await outcomeOf(c.execute('billing', 'charge', succeed))).error.name,
      'CircuitOpenError');
  assert.ok(isCached(c, 'allowed'));
});

test('token is revoked and replaced while the worker runs', async () => {
  const c = client({tokenFile});
  await follow(c, 'rotated');
  await know('second');
  await eventually(async () => {
    assert.equal(await c.execute('chat', 'rotated', succeed), 'done');
    return c.daemon.isAway();
  });
  await outcomeOf(c.execute('chat', 'rotated', fail));
  assert.ok(await isRefused(c, 'rotated'), 'by its own breaker');
  await writeFile(tokenFile, 'second');
  await eventually(async () => await c.ready(PATIENCE_MS));
  await follow(c, 'rotated');
  assert.equal(c.cacheStats().droppedOutcomes, 0);
  assert.equal((await c.fetchCircuitBreakerStats('chat', 'rotated')).state, 'CLOSED');
});
