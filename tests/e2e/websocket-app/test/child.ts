/** @file Processes that a test starts, reads the log of, and ends by their own ids. */

import {spawn, type ChildProcess} from 'node:child_process';
import {once} from 'node:events';
import {createInterface} from 'node:readline';

import {until} from './until.js';

const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 10_000;

const running = new Set<ChildProcess>();
// What is still there when the tests have ended in a hurry.
process.on('exit', () => Child.killAll());
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

export interface Command {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Matches the line by which it says that it is ready. */
  readonly ready: RegExp;
}

export class Child {
  /** What it wrote, on stdout and stderr, in all its lives. */
  readonly lines: string[] = [];
  private process: ChildProcess | undefined;
  private ended: Promise<unknown> = Promise.resolve();

  constructor(private readonly command: Command) {}

  /** For an end in a hurry. */
  static killAll(): void {
    for (const child of running) child.kill('SIGKILL');
  }

  /** Resolves with what its line of readiness holds. Other `args` than at first are kept. */
  async start(args = this.command.args): Promise<RegExpExecArray> {
    const {name, program, environment, ready} = this.command;
    const child = spawn(program, args, {
      env: {PATH: process.env['PATH'] ?? '', ...environment},
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(child);
    this.process = child;
    this.ended = once(child, 'close').then(() => running.delete(child));
    let match: RegExpExecArray | null = null;
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({input: stream!}).on('line', (line) => {
        this.lines.push(line);
        match ??= ready.exec(line);
      });
    }
    await until(`${name} is ready`, START_TIMEOUT_MS, () => {
      if (child.exitCode !== null) throw new Error(`${name} ended:\n${this.lines.join('\n')}`);
      return match !== null;
    });
    return match!;
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    this.process?.kill('SIGKILL');
    await this.ended;
  }

  /** Lets it end by itself; resolves with its exit status, null if it had to be killed. */
  async stop(): Promise<number | null> {
    const child = this.process;
    if (child === undefined) return null;
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    child.kill('SIGTERM');
    await this.ended;
    clearTimeout(timer);
    return child.exitCode;
  }
}
