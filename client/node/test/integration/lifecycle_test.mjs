/** @fileoverview A process with a service in it: it ends by itself, and nothing leaks. */

import assert from 'node:assert/strict';
import {after, before, test} from 'node:test';

import {DaemonProcess} from '../support/daemon_process.mjs';
import {runModule} from '../support/scripts.mjs';

let daemon;
before(async () => {
  daemon = await DaemonProcess.start();
});
after(() => daemon.stop());

const HEAD = `
  import {CircuitBreakerService} from 'breakerd-client';
  process.on('unhandledRejection', (error) => console.log('unhandled', error));
  const service = new CircuitBreakerService({
    target: process.env.TARGET, mode: process.env.MODE, rpcTimeout: Number(process.env.TIMEOUT),
  });
  const cached = async (operation) => {
    do {
      await service.execute('db', operation, () => {});
    } while (!service.cache.cells.find('db', operation).open);
  };
  process.on('exit', () => console.log('exit'));
`;
const env = (more) => ({TARGET: daemon.target, MODE: 'cached', TIMEOUT: '5000', ...more});

for (const mode of ['cached', 'remote']) {
  test(`process ends by itself with an open service, ${mode}`, async () => {
    const {code, signal, output} = await runModule(`${HEAD}
      if (process.env.MODE === 'cached') await cached('query');
      console.log(await service.execute('db', 'query', () => 'done'));
    `, env({MODE: mode}));
    assert.deepEqual({code, signal, output}, {code: 0, signal: null, output: 'done\nexit\n'});
  });

  test(`process ends by itself though the daemon is not there, ${mode}`, async () => {
    const {code, signal, output} = await runModule(`${HEAD}
      for (let i = 0; i < 10; ++i) {
        console.log(await service.execute('db', 'query', () => 'done'));
      }
    `, env({MODE: mode, TARGET: '127.0.0.1:1', TIMEOUT: '50'}));
    assert.deepEqual({code, signal, output},
        {code: 0, signal: null, output: `${'done\n'.repeat(10)}exit\n`});
  });
}

test('process lives until a call that it waits for is done', async () => {
  const {code, output} = await runModule(`${HEAD}
    console.log(await service.ready());
    console.log((await service.fetchCircuitBreakerStats('no', 'breaker')));
    for (let i = 0; i < 3; ++i) await service.execute('db', 'first' + i, () => {});
    await cached('query');
    await service.execute('db', 'query', () => {});
    await service.close();
    console.log('closed');
  `, env());
  assert.deepEqual({code, output}, {code: 0, output: 'true\nnull\nclosed\nexit\n'});
});

test('process that ends after close has told all', async () => {
  const {code} = await runModule(`${HEAD}
    await cached('told');
    for (let i = 0; i < 1000; ++i) await service.execute('db', 'told', () => {});
    await service.close();
  `, env());
  assert.equal(code, 0);
  const stats = JSON.parse(await daemon.ctl('stats', 'db/told', '--json'));
  assert.ok(Number(stats.lifetime.successes) >= 1000);
});

test('a million calls leave the heap as it was', async () => {
  const {code, output} = await runModule(`${HEAD}
    await cached('leak');
    const call = async (i) => {
      const fails = i % 100 === 99;
      try {
        await service.execute('db', 'leak', async () => {
          if (fails) throw new Error('down');
        }, null, {failureThreshold: 0, expectedResponseTime: 1000 + i % 2});
      } catch {}
    };
    const options = {failureThreshold: 0};
    const quick = (i) =>
      service.execute('db', 'quick', i % 100 === 99 ? fail : pass, drop, options);
    const pass = async () => {};
    const drop = () => {};
    const fail = async () => {
      throw new Error('down');
    };
    await service.execute('db', 'quick', pass, drop, options);
    const heap = () => {
      for (let i = 0; i < 4; ++i) gc();
      return process.memoryUsage().heapUsed;
    };
    const batches = async (count) => {
      for (let i = 0; i < count; ++i) {
        await quick(i).catch(() => {});
        if (i % 5000 === 0) {
          for (let j = 0; j < 20; ++j) await call(j);
          await new Promise(setImmediate);
        }
      }
      await service.fetchCircuitBreakerStats('db', 'quick');
    };
    await batches(100_000);
    const before = heap();
    await batches(1_000_000);
    console.log(Math.round((heap() - before) / 1024));
    await service.close();
  `, env(), ['--expose-gc']);
  assert.equal(code, 0, output);
  const [kilobytes] = output.split('\n');
  assert.ok(Number(kilobytes) < 2048, `${kilobytes} kB more after a million calls`);
});
