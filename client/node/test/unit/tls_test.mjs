/** @fileoverview A service, and a daemon that speaks TLS. */

import assert from 'node:assert/strict';
import {copyFile, writeFile} from 'node:fs/promises';
import {after, before, test} from 'node:test';

import {ServerCredentials, credentials as grpcCredentials} from '@grpc/grpc-js';
import {CircuitBreakerService} from 'breakerd-client';

import {CertificateFolder, contents, replaceFile} from '../support/certificates.mjs';
import {PATIENCE_MS, eventually} from '../support/eventually.mjs';
import {outcomeOf, useScriptedDaemon} from '../support/fixture.mjs';
import {runModule} from '../support/scripts.mjs';

const fixture = useScriptedDaemon();
const {call} = fixture;

let folder;
let ca;
let otherCa;
let own;  // the daemon's
before(async () => {
  folder = await CertificateFolder.make();
  ca = await folder.authority('ca');
  otherCa = await folder.authority('other-ca');
  own = await folder.issue(ca, 'breakerd', {dns: ['localhost'], ips: ['127.0.0.1']});
});
after(() => folder.remove());

const pair = async ({cert, key}) => (
  {cert_chain: await contents(cert), private_key: await contents(key)});

/** From then on the daemon shows such a certificate; with `clientCa` it asks for one of that. */
async function secureDaemon({certificate = own, clientCa = null} = {}) {
  await fixture.daemon.secure(ServerCredentials.createSsl(
      clientCa === null ? null : await contents(clientCa.certificate), [await pair(certificate)],
      clientCa !== null));
}

const client = (tls, options) => fixture.client({tls, ...options});
const answers = (c) => c.ready(PATIENCE_MS);

/** Why there is no connection; and calls are made all the same. */
async function whyNot(c) {
  assert.equal(await answers(c), false);
  assert.equal(await call(c), 'done');
  const {error} = await outcomeOf(c.fetchCircuitBreakerStats('db', 'query'));
  assert.equal(error.code, 'UNAVAILABLE');
  return error.message;
}

/** The target by a name instead of an address. */
const byName = () => fixture.daemon.target.replace('127.0.0.1', 'localhost');

test('certificate of the right CA, for an address and for a name', async () => {
  await secureDaemon();
  for (const target of [fixture.daemon.target, byName(), `dns:///${byName()}`]) {
    const c = client({ca: ca.certificate}, {target});
    assert.equal(await answers(c), true, target);
    await fixture.follow(c);
  }
});

test('certificate of another CA', async () => {
  await secureDaemon();
  assert.match(await whyNot(client({ca: otherCa.certificate})), /unable to verify/);
});

test('certificate that has expired', async () => {
  const certificate =
      await folder.issue(ca, 'expired', {dns: ['localhost'], ips: ['127.0.0.1'], days: -1});
  await secureDaemon({certificate});
  assert.match(await whyNot(client({ca: ca.certificate})), /certificate has expired/);
});

test('certificate for another name', async () => {
  const certificate = await folder.issue(ca, 'elsewhere', {dns: ['breakerd.example']});
  await secureDaemon({certificate});
  for (const target of [fixture.daemon.target, byName()]) {
    assert.match(await whyNot(client({ca: ca.certificate}, {target})), /does not match/);
  }
});

test('certificate for the name that was asked for', async () => {
  const certificate = await folder.issue(ca, 'named', {dns: ['breakerd.example']});
  await secureDaemon({certificate});
  const tls = {ca: ca.certificate, serverName: 'breakerd.example'};
  assert.equal(await answers(client(tls)), true);
  assert.match(await whyNot(client({...tls, serverName: 'other.example'})), /does not match/);
});

test('daemon without TLS', async () => {
  await whyNot(client({ca: ca.certificate}));
});

test('service without TLS', async () => {
  await secureDaemon();
  await whyNot(fixture.client());
});

test('CA that the system trusts', async () => {
  await secureDaemon();
  const program = `
    import {CircuitBreakerService} from 'breakerd-client';
    process.on('warning', (warning) => console.log('warning', warning));
    for (const tls of [{ca: 'system'}, {}]) {
      const service = new CircuitBreakerService({target: process.env.TARGET, tls});
      console.log(await service.ready(${PATIENCE_MS}));
    }
  `;
  const env = {TARGET: fixture.daemon.target};
  assert.equal((await runModule(program, env)).output, 'false\nfalse\n');
  assert.equal((await runModule(program, {...env, SSL_CERT_FILE: ca.certificate})).output,
      'true\ntrue\n');
});

test('certificate of the worker is asked for', async () => {
  await secureDaemon({clientCa: ca});
  const mine = await folder.issue(ca, 'worker');
  const others = await folder.issue(otherCa, 'stranger');
  assert.equal(await answers(client({ca: ca.certificate, ...mine})), true);
  assert.deepEqual(new Set(fixture.daemon.peers), new Set(['worker']));
  await whyNot(client({ca: ca.certificate}));
  await whyNot(client({ca: ca.certificate, ...others}));
  assert.deepEqual(new Set(fixture.daemon.peers), new Set(['worker']));
});

/** Until the daemon was heard from since it began anew. */
const answersAgain = (c) => eventually(async () => {
  await call(c);  // starts pings
  return await c.ready(1000);
});

test('certificate that was replaced is shown by the next connection', async () => {
  await secureDaemon({clientCa: ca});
  const first = await folder.issue(ca, 'worker-1');
  const second = await folder.issue(ca, 'worker-2');
  const files = {cert: folder.file('tls.crt'), key: folder.file('tls.key')};
  await copyFile(first.cert, files.cert);
  await copyFile(first.key, files.key);
  const c = client({ca: ca.certificate, ...files}, {mode: 'remote'});
  const {peers} = fixture.daemon;
  assert.equal(await answers(c), true);
  assert.equal(peers.at(-1), 'worker-1');

  // Half of it: the connection is made with what there was.
  await replaceFile(files.cert, second.cert);
  await secureDaemon({clientCa: ca});
  await answersAgain(c);
  assert.equal(peers.at(-1), 'worker-1');

  await replaceFile(files.key, second.key);
  assert.equal(await answers(c), true);
  assert.equal(peers.at(-1), 'worker-1', 'a connection goes on');
  await secureDaemon({clientCa: ca});
  await answersAgain(c);
  assert.equal(peers.at(-1), 'worker-2');
});

test('CA that was replaced, and a certificate that was of no use, are for the next connection too',
    async () => {
      await secureDaemon({clientCa: ca});
      const trusted = folder.file('trusted.pem');
      const files = {cert: folder.file('mine.crt'), key: folder.file('mine.key')};
      await copyFile(otherCa.certificate, trusted);
      const stranger = await folder.issue(otherCa, 'stranger-2');
      const mine = await folder.issue(ca, 'worker-3');
      await copyFile(stranger.cert, files.cert);
      await copyFile(stranger.key, files.key);
      const c = client({ca: trusted, ...files});
      await whyNot(c);
      for (const [path, by] of [
        [trusted, ca.certificate], [files.cert, mine.cert], [files.key, mine.key],
      ]) {
        await replaceFile(path, by);
      }
      await answersAgain(c);
      assert.equal(fixture.daemon.peers.at(-1), 'worker-3');
    });

test('credentials of grpc-js', async () => {
  await secureDaemon();
  const credentials = grpcCredentials.createSsl(await contents(ca.certificate));
  assert.equal(await answers(fixture.client({credentials, target: byName()})), true);
});

test('options that are wrong say so', async () => {
  const notPem = folder.file('not.pem');
  await writeFile(notPem, 'It is not.');
  const mine = await folder.issue(ca, 'mine');
  const others = await folder.issue(ca, 'others');
  const missing = folder.file('missing.pem');
  for (const [tls, message] of [
    [{ca: missing}, /^tls\.ca: cannot be read: ENOENT.*missing\.pem/],
    [{ca: notPem}, /^tls\.ca: .*not\.pem" holds no CERTIFICATE of PEM$/],
    [{ca: ca.key}, /^tls\.ca: .*holds no CERTIFICATE of PEM$/],
    [{ca: ca.certificate, cert: mine.cert}, /^tls\.cert, tls\.key: there must be both or none$/],
    [{ca: ca.certificate, key: mine.key}, /^tls\.cert, tls\.key: there must be both or none$/],
    [{ca: ca.certificate, cert: mine.key, key: mine.key}, /^tls\.cert: .*no CERTIFICATE/],
    [{ca: ca.certificate, cert: mine.cert, key: others.key}, /^tls: .*mismatch/],
  ]) {
    assert.throws(() => new CircuitBreakerService({tls}),
        {name: 'BreakerdError', code: 'INVALID_ARGUMENT', message}, JSON.stringify(tls));
  }
  assert.throws(
      () => new CircuitBreakerService({tls: {}, credentials: grpcCredentials.createInsecure()}),
      {code: 'INVALID_ARGUMENT', message: /^tls, credentials: /});
});

test('process ends by itself with a secure connection, and with one that is never made',
    async () => {
      await secureDaemon();
      const {code, output} = await runModule(`
        import {createServer} from 'node:net';
        import {CircuitBreakerService} from 'breakerd-client';
        const tls = {ca: process.env.CA};
        const service = new CircuitBreakerService({target: process.env.TARGET, tls});
        console.log(await service.ready(${PATIENCE_MS}));
        while (!service.cache.cells.find('db', 'query')?.open) {
          await service.execute('db', 'query', () => {});
        }
        const mute = createServer((socket) => socket.unref()).unref();
        mute.listen(0, '127.0.0.1', async () => {
          const target = '127.0.0.1:' + mute.address().port;
          const waiting = new CircuitBreakerService({target, tls});
          console.log(await waiting.execute('db', 'query', () => 'done'));
        });
      `, {TARGET: fixture.daemon.target, CA: ca.certificate});
      assert.deepEqual({code, output}, {code: 0, output: 'true\ndone\n'});
    });
