/** @fileoverview Options that the environment gives. */

import assert from 'node:assert/strict';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, test} from 'node:test';
import {inspect} from 'node:util';

import {optionsFromEnvironment} from 'breakerd-client';

import {PATIENCE_MS} from '../support/eventually.mjs';
import {useScriptedDaemon} from '../support/fixture.mjs';
import {runModule} from '../support/scripts.mjs';

const fixture = useScriptedDaemon();

const folder = mkdtempSync(join(tmpdir(), 'node-client-environment-'));
after(() => rmSync(folder, {recursive: true, force: true}));
const file = join(folder, 'file');
writeFileSync(file, 'token-of-a-file\n');
const missing = join(folder, 'missing');
const SECRET = 'no-one-may-read-this';

test('nothing gives nothing', () => {
  assert.deepEqual(optionsFromEnvironment({}), {});
  const empty = ['TARGET', 'WORKER_ID', 'TLS_CA', 'CLIENT_CERT', 'CLIENT_KEY', 'TLS_SERVER_NAME',
    'TOKEN', 'TOKEN_FILE', 'TOKEN_OVER_PLAINTEXT'].map((name) => [`BREAKERD_${name}`, '']);
  assert.deepEqual(optionsFromEnvironment(Object.fromEntries(empty)), {});
  assert.deepEqual(optionsFromEnvironment({BREAKERD_TOKEN_OVER_PLAINTEXT: '0'}), {});
});

test('all of it', () => {
  const {token, ...options} = optionsFromEnvironment({
    BREAKERD_TARGET: 'breakerd:50051', BREAKERD_WORKER_ID: 'ws-1',
    BREAKERD_TLS_CA: file, BREAKERD_CLIENT_CERT: file, BREAKERD_CLIENT_KEY: file,
    BREAKERD_TLS_SERVER_NAME: 'breakerd.example', BREAKERD_TOKEN: SECRET,
  });
  assert.deepEqual(options, {
    target: 'breakerd:50051', workerId: 'ws-1',
    tls: {ca: file, cert: file, key: file, serverName: 'breakerd.example'},
  });
  assert.equal(token(), SECRET);
});

test('roots of the system, and a token of a file', () => {
  const {tls, tokenFile} =
      optionsFromEnvironment({BREAKERD_TLS_CA: 'system', BREAKERD_TOKEN_FILE: file});
  assert.equal(tls.ca, 'system');
  assert.equal(tokenFile, file);
});

test('values that are wrong are named by their variable', () => {
  for (const [environment, message] of [
    [{WORKER_ID: 'a\nb'}, /^BREAKERD_WORKER_ID: /],
    [{WORKER_ID: 'x'.repeat(129)}, /^BREAKERD_WORKER_ID: .*1 to 128 bytes/],
    [{TLS_CA: missing}, /^BREAKERD_TLS_CA: cannot be read: ENOENT/],
    [{TLS_CA: file, CLIENT_CERT: missing, CLIENT_KEY: file}, /^BREAKERD_CLIENT_CERT: cannot be read/],
    [{TLS_CA: file, CLIENT_CERT: file, CLIENT_KEY: missing}, /^BREAKERD_CLIENT_KEY: cannot be read/],
    [{TLS_CA: file, CLIENT_CERT: file}, /^BREAKERD_CLIENT_CERT, BREAKERD_CLIENT_KEY: /],
    [{TLS_CA: file, CLIENT_KEY: file}, /^BREAKERD_CLIENT_CERT, BREAKERD_CLIENT_KEY: /],
    [{CLIENT_CERT: file, CLIENT_KEY: file}, /^BREAKERD_CLIENT_CERT: needs BREAKERD_TLS_CA/],
    [{TLS_SERVER_NAME: 'a'}, /^BREAKERD_TLS_SERVER_NAME: needs BREAKERD_TLS_CA/],
    [{TLS_CA: 'system', TOKEN_FILE: missing}, /^BREAKERD_TOKEN_FILE: cannot be read/],
    [{TLS_CA: 'system', TOKEN: `${SECRET} ${SECRET}`}, /^BREAKERD_TOKEN: is not 1 to 4096/],
    [{TLS_CA: 'system', TOKEN: SECRET, TOKEN_FILE: file}, /^BREAKERD_TOKEN, BREAKERD_TOKEN_FILE: /],
    [{TOKEN: SECRET}, /^BREAKERD_TOKEN: without TLS .*BREAKERD_TOKEN_OVER_PLAINTEXT=1/],
    [{TOKEN: SECRET, TOKEN_OVER_PLAINTEXT: '0'}, /^BREAKERD_TOKEN: without TLS /],
    [{TOKEN_FILE: file}, /^BREAKERD_TOKEN_FILE: without TLS /],
    [{TOKEN_OVER_PLAINTEXT: 'yes'}, /^BREAKERD_TOKEN_OVER_PLAINTEXT: "yes" is neither 1 nor 0$/],
  ]) {
    const named = Object.entries(environment).map(([name, value]) => [`BREAKERD_${name}`, value]);
    assert.throws(() => optionsFromEnvironment(Object.fromEntries(named)), (error) => {
      assert.equal(error.code, 'INVALID_ARGUMENT');
      assert.match(error.message, message);
      assert.ok(!inspect(error).includes(SECRET));
      return true;
    });
  }
});

test('process that takes its options from its environment', async () => {
  const {code, output} = await runModule(`
    import {CircuitBreakerService, optionsFromEnvironment} from 'breakerd-client';
    const service = new CircuitBreakerService({...optionsFromEnvironment(), mode: 'remote'});
    console.log(await service.ready(${PATIENCE_MS}));
    await service.execute('db', 'query', () => {}, null, {});
    await service.close();
  `, {
    BREAKERD_TARGET: fixture.daemon.target, BREAKERD_WORKER_ID: 'ws-7',
    BREAKERD_TOKEN_FILE: file, BREAKERD_TOKEN_OVER_PLAINTEXT: '1',
  });
  assert.deepEqual({code, output}, {code: 0, output: 'true\n'});
  assert.deepEqual(new Set(fixture.daemon.authorizations), new Set(['Bearer token-of-a-file']));
});
