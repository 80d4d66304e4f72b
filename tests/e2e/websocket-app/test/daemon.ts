/** @file The daemon, and what it says of its circuits. */

import {execFile} from 'node:child_process';
import {readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {promisify} from 'node:util';

import {Child} from './child.js';
import {until} from './until.js';

const POLICIES = join(import.meta.dirname, '../../../../../deploy/policies/websocket-app.yaml');
const TRANSITION = new RegExp(
    '^(\\S+) info transition service=(\\S+) operation=(\\S+) from=(\\S+) to=(\\S+) cause=(\\S+) ' +
    'generation=\\d+ reason="(.*)"$');

function required(variable: string): string {
  const value = process.env[variable];
  if (!value) throw new Error(`${variable} is not set; see run.sh`);
  return value;
}

export interface Transition {
  readonly time: number;
  /** As service/operation. */
  readonly breaker: string;
  readonly to: string;
  readonly reason: string;
}

/** Counts are since the breaker was created. */
export interface Stats {
  readonly state: string;
  readonly successes: number;
  readonly failures: number;
  readonly rejected: number;
  readonly ignored: number;
  readonly timesOpened: number;
}

export class Daemon {
  private constructor(private readonly child: Child, readonly target: string,
                      private readonly args: readonly string[]) {}

  /**
   * Under the application's policies, but for a recovery time, in milliseconds, that tests can wait
   * for.
   */
  static async start(folder: string, recoveryTimeout: number): Promise<Daemon> {
    const policies = (await readFile(POLICIES, 'utf8'))
        .replaceAll(/recovery_timeout: \w+/g, `recovery_timeout: ${recoveryTimeout}ms`);
    const file = join(folder, 'policies.yaml');
    await writeFile(file, policies);
    const args = ['--policies', file, '--data_dir', join(folder, 'data'), '--http_listen', 'off'];
    const child = new Child({
      name: 'breakerd',
      program: required('BREAKERD_PATH'),
      args: [],
      ready: /^\S+ info listening address=(\S+)/,
    });
    const [, target] = await child.start(['--listen', '127.0.0.1:0', ...args]);
    return new Daemon(child, target!, args);
  }

  get log(): readonly string[] {
    return this.child.lines;
  }

  kill(): Promise<void> {
    return this.child.kill();
  }

  /** Starts it again on the same port, with what it had stored. */
  async restart(): Promise<void> {
    await this.child.start(['--listen', this.target, ...this.args]);
  }

  stop(): Promise<number | null> {
    return this.child.stop();
  }

  /** All so far, in their order, that are no older than `since`. */
  transitions(since = 0): Transition[] {
    const found = [];
    for (const line of this.child.lines) {
      const match = TRANSITION.exec(line);
      if (match === null) continue;
      const time = Date.parse(match[1]!);
      if (time < since) continue;
      found.push(
          {time, breaker: `${match[2]}/${match[3]}`, to: match[5]!, reason: match[7]!});
    }
    return found;
  }

  /** Resolves with the first such transition since then, once there is one. */
  async transition(breaker: string, to: string, since: number): Promise<Transition> {
    let found: Transition | undefined;
    await until(`${breaker} is ${to}`, 20_000, () => {
      found = this.transitions(since).find((one) => one.breaker === breaker && one.to === to);
      return found !== undefined;
    });
    return found!;
  }

  async stats(breaker: string): Promise<Stats> {
    const {state, lifetime} = await this.ask(breaker);
    const count = (name: string) => Number(lifetime[name]);
    return {
      state,
      successes: count('successes'),
      failures: count('failures'),
      rejected: count('rejected'),
      ignored: count('ignored'),
      timesOpened: count('times_opened'),
    };
  }

  /** What is in effect, as far as the application has an opinion; times in milliseconds. */
  async policy(breaker: string): Promise<Record<string, number>> {
    const {policy} = await this.ask(breaker);
    const milliseconds = (name: string) => {
      const [, number, unit] = /^([\d.]+)(m?s)$/.exec(policy[name])!;
      return Number(number) * (unit === 's' ? 1000 : 1);
    };
    return {
      failureThreshold: policy.failure_threshold,
      recoveryTimeout: milliseconds('recovery_timeout'),
      expectedResponseTime: milliseconds('expected_response_time'),
      monitoringWindow: milliseconds('monitoring_window'),
      minimumRequestCount: policy.minimum_request_count,
    };
  }

  /** What breakerctl tells of a breaker. */
  private async ask(breaker: string) {
    const {stdout} = await promisify(execFile)(
        required('BREAKERCTL_PATH'),
        ['--target', this.target, '--timeout', '10s', 'stats', breaker, '--json']);
    return JSON.parse(stdout);
  }
}
