/**
 * @fileoverview What a guarded call costs: against no guard, opossum and cockatiel, which decide in
 * this process alone; and in remote mode against a bare grpc-js call.
 *
 *     BREAKERD_PATH=... BREAKERCTL_PATH=... npm run bench
 *
 * All run in one process and take turns in short slices, so that what else the machine does meets
 * them alike; the median slice counts.
 */

import {ConsecutiveBreaker, SamplingBreaker, circuitBreaker, handleAll} from 'cockatiel';
import CircuitBreaker from 'opossum';

import {credentials} from '@grpc/grpc-js';
import {CircuitBreakerService} from 'breakerd-client';

import {CircuitBreakerClient} from '../dist/esm/generated/breaker/v1/breaker.js';
import {DaemonProcess} from '../test/support/daemon_process.mjs';

const SLICES = 41;
const CALLS_A_SLICE = 50_000;
const RPCS_A_SLICE = 250;

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** The median time of one call of each contestant, in nanoseconds. */
async function race(contestants, calls) {
  const times = contestants.map(() => []);
  for (let slice = -2; slice < SLICES; ++slice) {
    for (let i = 0; i < contestants.length; ++i) {
      // Who goes first changes from slice to slice.
      const which = (i + slice + contestants.length) % contestants.length;
      const start = process.hrtime.bigint();
      await contestants[which].run(calls);
      const took = Number(process.hrtime.bigint() - start) / calls;
      if (slice >= 0) times[which].push(took);
    }
  }
  return contestants.map(({name}, i) => ({name, time: median(times[i])}));
}

function print(title, rows, unit, scale) {
  console.log(`\n${title}`);
  const width = Math.max(...rows.map(({name}) => name.length));
  for (const {name, time} of rows) {
    const ratio = (time / rows[rows.length - 1].time).toFixed(2);
    const rate = Math.round(1e9 / time).toLocaleString('en-US');
    console.log(`  ${name.padEnd(width)}  ${(time / scale).toFixed(0).padStart(6)} ${unit}` +
        `  ${rate.padStart(12)} calls/s  ${ratio.padStart(6)} x the last`);
  }
}

async function noop() {}

// The loop is written out for each: a shared one would be compiled for all of them at once.
const sampling = circuitBreaker(handleAll, {
  halfOpenAfter: 30_000,
  breaker: new SamplingBreaker({threshold: 0.5, duration: 60_000}),
});
const consecutive = circuitBreaker(handleAll,
    {halfOpenAfter: 30_000, breaker: new ConsecutiveBreaker(5)});
const opossum = new CircuitBreaker(noop, {timeout: false});

const daemon = await DaemonProcess.start();
const service = new CircuitBreakerService({target: daemon.target, rpcTimeout: 2000});
const remote = new CircuitBreakerService({target: daemon.target, mode: 'remote', rpcTimeout: 2000});
const client = new CircuitBreakerClient(daemon.target, credentials.createInsecure());
const options = {
  failureThreshold: 3, recoveryTimeout: 30_000, expectedResponseTime: 2000,
  monitoringWindow: 60_000, minimumRequestCount: 5,
};
const bareCall = () => new Promise((resolve, reject) => {
  client.listStats({service: '', states: [], pageSize: 1, pageToken: ''}, (error, response) => {
    if (error === null) resolve(response);
    else reject(error);
  });
});

try {
  // Until the stream is up, calls ask the daemon.
  for (const [operation, brought] of [['noop', undefined], ['with options', options]]) {
    let asked;
    do {
      asked = service.cacheStats().breakers;
      const start = performance.now();
      await service.execute('bench', operation, noop, null, brought);
      asked = performance.now() - start > 0.05;
    } while (asked);
  }

  const cached = await race([
    {name: 'no guard', run: async (n) => {
      for (let i = 0; i < n; ++i) await noop();
    }},
    {name: 'opossum', run: async (n) => {
      for (let i = 0; i < n; ++i) await opossum.fire();
    }},
    {name: 'cockatiel, SamplingBreaker', run: async (n) => {
      for (let i = 0; i < n; ++i) await sampling.execute(noop);
    }},
    {name: 'cockatiel, ConsecutiveBreaker', run: async (n) => {
      for (let i = 0; i < n; ++i) await consecutive.execute(noop);
    }},
    {name: 'breakerd-client, new options each call', run: async (n) => {
      for (let i = 0; i < n; ++i) {
        await service.execute('bench', 'with options', noop, undefined, {
          failureThreshold: 3, recoveryTimeout: 30_000, expectedResponseTime: 2000,
          monitoringWindow: 60_000, minimumRequestCount: 5,
        });
      }
    }},
    {name: 'breakerd-client, cached', run: async (n) => {
      for (let i = 0; i < n; ++i) await service.execute('bench', 'noop', noop);
    }},
  ], CALLS_A_SLICE);
  print(`A guarded call of nothing (median of ${SLICES} slices of ${CALLS_A_SLICE} calls)`,
      cached, 'ns', 1);
  const timeOf = (name) => cached.find((row) => row.name === name).time;
  const own = timeOf('breakerd-client, cached');
  console.log(`  against opossum: ${(timeOf('opossum') / own).toFixed(2)} x as many calls; ` +
      `against cockatiel's SamplingBreaker: ` +
      `${(timeOf('cockatiel, SamplingBreaker') / own).toFixed(2)} x`);

  print(`Remote mode, one call after the other (median of ${SLICES} slices of ${RPCS_A_SLICE})`,
      await race([
        {name: 'breakerd-client, remote (Acquire and Report)', run: async (n) => {
          for (let i = 0; i < n; ++i) await remote.execute('bench', 'remote', noop);
        }},
        {name: 'a bare grpc-js call', run: async (n) => {
          for (let i = 0; i < n; ++i) await bareCall();
        }},
      ], RPCS_A_SLICE), 'µs', 1000);
} finally {
  await service.close();
  await remote.close();
  client.close();
  await daemon.stop();
}
