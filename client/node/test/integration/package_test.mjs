/** @fileoverview What npm packs, in an empty project. */

import assert from 'node:assert/strict';
import {cp, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before, test} from 'node:test';

import {PACKAGE, run} from '../support/scripts.mjs';

let project;

async function ok(program, ...args) {
  const {code, output} = await run(program, args, {cwd: project});
  assert.equal(code, 0, output);
  return output;
}
const node = (file) => ok(process.execPath, file);

before(async () => {
  project = await mkdtemp(join(tmpdir(), 'node-client-package-'));
  // It is built already, and a build while other tests run would pull it from under them.
  const packed = await run('npm',
      ['pack', '--ignore-scripts', '--silent', '--pack-destination', project], {cwd: PACKAGE});
  assert.equal(packed.code, 0, packed.output);
  await writeFile(join(project, 'package.json'), '{"name": "empty", "private": true}');
  // Its dependencies are those that are installed here, so that no registry is needed.
  await mkdir(join(project, 'node_modules'));
  const installed = JSON.parse(await readFile(join(PACKAGE, 'package-lock.json'), 'utf8')).packages;
  const wanted = new Set();
  const want = (name) => {
    if (wanted.has(name)) return;
    wanted.add(name);
    Object.keys(installed[`node_modules/${name}`].dependencies ?? {}).forEach(want);
  };
  Object.keys(installed[''].dependencies).forEach(want);
  wanted.add('@types/node').add('undici-types');
  for (const name of wanted) {
    const from = join(PACKAGE, 'node_modules', name);
    await cp(from, join(project, 'node_modules', name), {recursive: true});
  }
  await mkdir(join(project, 'node_modules', 'breakerd-client'));
  const [tarball] = (await readdir(project)).filter((file) => file.endsWith('.tgz'));
  await ok('tar', 'xzf', tarball, '--strip-components=1', '-C', 'node_modules/breakerd-client');
  await symlink(join(PACKAGE, 'node_modules', 'typescript'),
      join(project, 'node_modules', 'typescript'));
});
after(() => rm(project, {recursive: true, force: true}));

const PROGRAM = `
  console.log(optionsFromEnvironment({BREAKERD_TARGET: 'b:1', BREAKERD_TLS_CA: 'system'}).tls.ca);
  const transport = new MemoryBreakerTransport();
  const service = new CircuitBreakerService({transport});
  service.execute('cognito', 'verifyJWT', async () => 'verified').then(async (value) => {
    console.log(value, service.getCircuitBreakerStats('cognito', 'verifyJWT').successCount);
    const other = new CircuitBreakerService({target: '127.0.0.1:1'});
    console.log(await other.execute('a', 'b', () => 'allowed'));
  });
`;

test('import', async () => {
  await writeFile(join(project, 'main.mjs'),
      `import {CircuitBreakerService, MemoryBreakerTransport, optionsFromEnvironment}
         from 'breakerd-client';${PROGRAM}`);
  assert.equal(await node('main.mjs'), 'system\nverified 1\nallowed\n');
});

test('require', async () => {
  await writeFile(join(project, 'main.cjs'),
      `const {CircuitBreakerService, MemoryBreakerTransport, optionsFromEnvironment} =
         require('breakerd-client');${PROGRAM}`);
  assert.equal(await node('main.cjs'), 'system\nverified 1\nallowed\n');
});

const TYPED = `
  import {CircuitBreakerService, CircuitOpenError, optionsFromEnvironment} from 'breakerd-client';
  import type {CircuitBreakerStats, EnvironmentOptions, TlsOptions} from 'breakerd-client';
  const service = new CircuitBreakerService({target: 'localhost:50051', workerId: 'ws-1'});
  const verified: Promise<{sub: string} | null> = service.execute('cognito', 'verifyJWT',
    (signal) => fetch('http://localhost', {signal: signal ?? null}).then(async () => ({sub: 'me'})),
    (refusal: CircuitOpenError) => (refusal.retryAfter > 5 ? null : null), {
      failureThreshold: 3, recoveryTimeout: 30000, expectedResponseTime: 2000,
      monitoringWindow: 60000, minimumRequestCount: 5, timeout: 1000 });
  const plain: Promise<number> = service.execute('db', 'query', () => 1);
  service.on('stateChange', ({service: name, to}) => console.log(name.toUpperCase(), to));
  const stats: CircuitBreakerStats | null = service.getCircuitBreakerStats('cognito', 'verifyJWT');
  const at: Date | null | undefined = stats?.nextAttemptTime;
  const tls: TlsOptions = {ca: 'system', serverName: 'breakerd.example'};
  const secure = () => new CircuitBreakerService({tls, token: () => 'secret', mode: 'remote'});
  const given: EnvironmentOptions = optionsFromEnvironment();
  const byEnvironment = () => new CircuitBreakerService({...given, tokenOverPlaintext: true});
  export {verified, plain, at, secure, byEnvironment};
`;

for (const [file, module, resolution] of [
  ['typed.mts', 'nodenext', 'nodenext'], ['typed.cts', 'nodenext', 'nodenext'],
  ['typed.ts', 'esnext', 'bundler'],
]) {
  test(`tsc --strict, ${file}`, async () => {
    await writeFile(join(project, file), TYPED);
    await ok(process.execPath, 'node_modules/typescript/bin/tsc', '--ignoreConfig', '--strict',
        '--noEmit', '--target', 'es2022', '--module', module, '--moduleResolution', resolution,
        '--types', 'node', file);
  });
  test(`tsc --strict finds what is wrong, ${file}`, async () => {
    const wrong = file.replace('typed', 'wrong');
    await writeFile(join(project, wrong),
        TYPED.replace('failureThreshold: 3', 'failureThreshold: "3"'));
    const {code, output} = await run(process.execPath,
        ['node_modules/typescript/bin/tsc', '--ignoreConfig', '--strict', '--noEmit', '--target',
          'es2022', '--module', module, '--moduleResolution', resolution, '--types', 'node', wrong],
        {cwd: project});
    assert.notEqual(code, 0);
    assert.match(output, /failureThreshold|not assignable/);
  });
}

test('holds what it needs and nothing else', async () => {
  const folder = join(project, 'node_modules', 'breakerd-client');
  assert.deepEqual((await readdir(folder)).sort(), ['README.md', 'dist', 'package.json']);
  assert.deepEqual((await readdir(join(folder, 'dist'))).sort(), ['cjs', 'esm']);
});
