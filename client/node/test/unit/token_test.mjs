/** @fileoverview A service that proves who it is by a token. */

import assert from 'node:assert/strict';
import {mkdtemp, rm, unlink, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before, test} from 'node:test';
import {inspect} from 'node:util';

import {Metadata, ServerCredentials, credentials as grpcCredentials} from '@grpc/grpc-js';
import {CircuitBreakerService, optionsFromEnvironment} from 'breakerd-client';

import {CertificateFolder, contents} from '../support/certificates.mjs';
import {PATIENCE_MS, eventually} from '../support/eventually.mjs';
import {outcomeOf, useScriptedDaemon} from '../support/fixture.mjs';
import {runModule} from '../support/scripts.mjs';

const SECRET = 'no-one-may-read-this';

const fixture = useScriptedDaemon();
const {call, follow} = fixture;

let folder;
let certificates;
let tls;
let serverCredentials;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'node-client-token-'));
  certificates = await CertificateFolder.make();
  const ca = await certificates.authority('ca');
  const {cert, key} = await certificates.issue(ca, 'breakerd', {ips: ['127.0.0.1']});
  tls = {ca: ca.certificate};
  serverCredentials = ServerCredentials.createSsl(
      null, [{cert_chain: await contents(cert), private_key: await contents(key)}]);
});
after(async () => {
  await certificates.remove();
  await rm(folder, {recursive: true, force: true});
});

const secureDaemon = () => fixture.daemon.secure(serverCredentials);
const tokenFile = async (name, text) => {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
};

/** Every rpc that there is came with it. */
async function sends(c, authorization) {
  await follow(c);
  await c.ready(PATIENCE_MS);
  await c.fetchCircuitBreakerStats('db', 'query');
  assert.deepEqual(new Set(fixture.daemon.authorizations), new Set([authorization]));
}

test('token goes with each rpc', async () => {
  await secureDaemon();
  await sends(fixture.client({tls, token: SECRET}), `Bearer ${SECRET}`);
});

test('token of a function, and none', async () => {
  await secureDaemon();
  await sends(fixture.client({tls, token: () => SECRET}), `Bearer ${SECRET}`);
  fixture.daemon.authorizations = [];
  await sends(fixture.client({tls}), undefined);
});

test('token of a file, without the white space around it', async () => {
  await secureDaemon();
  const path = await tokenFile('spaces', `  ${SECRET}\r\n\n`);
  await sends(fixture.client({tls, tokenFile: path}), `Bearer ${SECRET}`);
});

test('token that changes in its file', async () => {
  await secureDaemon();
  const path = await tokenFile('changes', 'first');
  const c = fixture.client({tls, tokenFile: path, mode: 'remote'});
  assert.equal(await c.ready(PATIENCE_MS), true);
  const last = async () => {
    await call(c);
    return fixture.daemon.authorizations.at(-1);
  };
  assert.equal(await last(), 'Bearer first');
  await writeFile(path, 'second\n');
  await eventually(async () => await last() === 'Bearer second');
  // What is not a token, as while it is being written, is not taken for one.
  for (const unusable of ['', 'two words', 'línea']) {
    await writeFile(path, unusable);
    const end = performance.now() + 1100;
    await eventually(async () => {
      assert.equal(await last(), 'Bearer second');
      return performance.now() > end;
    });
  }
  await unlink(path);
  await writeFile(path, 'third');
  await eventually(async () => await last() === 'Bearer third');
});

test('plain text is refused', async () => {
  const path = await tokenFile('plain', SECRET);
  for (const options of [
    {token: SECRET}, {token: SECRET, tokenOverPlaintext: false}, {tokenFile: path},
    {token: SECRET, credentials: grpcCredentials.createInsecure()},
  ]) {
    assert.throws(() => fixture.client(options), {
      name: 'BreakerdError', code: 'INVALID_ARGUMENT',
      message: /^token: without TLS .*`tls`.*`tokenOverPlaintext: true`/,
    });
  }
});

test('plain text is allowed if so asked', async () => {
  await sends(fixture.client({token: SECRET, tokenOverPlaintext: true}), `Bearer ${SECRET}`);
});

test('credentials of grpc-js, with call credentials of their own', async () => {
  await secureDaemon();
  const more = grpcCredentials.createFromMetadataGenerator((_, callback) => {
    const metadata = new Metadata();
    metadata.set('x-team', 'chat');
    callback(null, metadata);
  });
  const teams = [];
  fixture.daemon.onRpc = ({metadata}) => teams.push(metadata.get('x-team')[0]);
  const credentials = grpcCredentials.createSsl(await contents(tls.ca)).compose(more);
  await sends(fixture.client({credentials, token: SECRET}), `Bearer ${SECRET}`);
  assert.deepEqual(new Set(teams), new Set(['chat']));
});

test('tokens that cannot be', async () => {
  const missing = join(folder, 'missing');
  const empty = await tokenFile('empty', ' \n');
  const two = await tokenFile('two', `${SECRET} ${SECRET}`);
  for (const [options, message] of [
    [{token: ''}, /^token: is not 1 to 4096 characters of ASCII without spaces$/],
    [{token: `${SECRET}\n`}, /^token: is not 1 to/],
    [{token: `${SECRET} ${SECRET}`}, /^token: is not 1 to/],
    [{token: `${SECRET}é`}, /^token: is not 1 to/],
    [{token: SECRET.repeat(300)}, /^token: is not 1 to/],
    [{token: () => ''}, /^token: is not 1 to/],
    [{token: 7}, /^token: is not 1 to/],
    [{tokenFile: missing}, /^tokenFile: cannot be read: ENOENT.*missing/],
    [{tokenFile: empty}, /^tokenFile: what ".*empty" holds is not 1 to/],
    [{tokenFile: two}, /^tokenFile: what ".*two" holds is not 1 to/],
    [{token: SECRET, tokenFile: two}, /^token, tokenFile: there must be one of them at most$/],
  ]) {
    assert.throws(() => new CircuitBreakerService({tls, ...options}), (error) => {
      assert.equal(error.code, 'INVALID_ARGUMENT');
      assert.match(error.message, message);
      assert.ok(!inspect(error, {depth: Infinity, showHidden: true}).includes(SECRET));
      return true;
    });
  }
});

test('token is not seen in what is printed', async () => {
  await secureDaemon();
  const path = await tokenFile('unseen', SECRET);
  const all = {depth: Infinity, showHidden: true, maxArrayLength: Infinity};
  const given = {...optionsFromEnvironment({BREAKERD_TOKEN: SECRET, BREAKERD_TLS_CA: tls.ca})};
  assert.ok(!inspect(given, all).includes(SECRET));
  assert.ok(!JSON.stringify(given).includes(SECRET));
  for (const options of [{tls, tokenFile: path}, {tls, token: SECRET}, given]) {
    const c = fixture.client(options);
    await follow(c);
    const pending = c.fetchCircuitBreakerStats('db', 'query');
    fixture.daemon.hang();
    const hanging = c.fetchCircuitBreakerStats('db', 'query');
    assert.ok(!inspect(c, all).includes(SECRET), 'the service');
    fixture.daemon.release();
    await pending;
    await hanging;
    fixture.daemon.requireToken('another');
    const {error} = await outcomeOf(c.fetchCircuitBreakerStats('db', 'query'));
    assert.equal(error.code, 'UNAUTHENTICATED');
    assert.ok(!inspect(error, all).includes(SECRET), 'an error');
    fixture.daemon.requireToken(null);
  }
});

test('token is not seen in the log of grpc-js', async () => {
  await secureDaemon();
  const {code, output} = await runModule(`
    import {CircuitBreakerService} from 'breakerd-client';
    const service = new CircuitBreakerService(
        {target: process.env.TARGET, tls: {ca: process.env.CA}, tokenFile: process.env.FILE});
    console.log('ready', await service.ready(${PATIENCE_MS}));
    await service.execute('db', 'query', () => {});
    await service.close();
  `, {
    TARGET: fixture.daemon.target, CA: tls.ca, FILE: await tokenFile('unlogged', SECRET),
    GRPC_TRACE: 'all', GRPC_VERBOSITY: 'DEBUG',
  });
  assert.equal(code, 0);
  assert.match(output, /ready true/);
  assert.match(output, /Established secure connection/);
  assert.ok(!output.includes(SECRET));
});
