/** @file The application with all it depends on: four workers, one daemon, three dependencies. */

import {rmSync} from 'node:fs';
import {mkdir, mkdtemp, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

import {ChatClient} from './chat_client.js';
import {Child} from './child.js';
import {Daemon} from './daemon.js';
import {Gate} from './gate.js';
import {TokenIssuer} from './token_issuer.js';

const DIST = join(import.meta.dirname, '..');

/** A server that the application calls, behind a gate that counts who comes. */
export class Dependency {
  private constructor(private readonly child: Child, private readonly args: readonly string[],
                      readonly gate: Gate, private readonly port: string) {}

  /** Its program takes the port as its first argument. */
  static async start(name: string, ...more: string[]): Promise<Dependency> {
    const args = [join(DIST, 'dependencies', `${name}.js`), '0', ...more];
    const child =
        new Child({name, program: process.execPath, args, ready: /^listening port=(\d+)/});
    const [, port] = await child.start();
    return new Dependency(child, args, await Gate.open(Number(port)), port!);
  }

  get log(): readonly string[] {
    return this.child.lines;
  }

  kill(): Promise<void> {
    return this.child.kill();
  }

  /** On the same port, empty. */
  async restart(): Promise<void> {
    await this.child.start([this.args[0]!, this.port, ...this.args.slice(2)]);
  }

  async stop(): Promise<void> {
    await this.gate.close();
    await this.child.kill();
  }
}

export class Fleet {
  static readonly WORKERS = 4;

  readonly workers: Child[] = [];
  private readonly ports: number[] = [];

  private constructor(readonly daemon: Daemon, readonly tokens: TokenIssuer,
                      readonly database: Dependency, readonly keys: Dependency,
                      readonly management: Dependency) {}

  /** `recoveryTimeout` is every circuit's, in milliseconds. */
  static async start(recoveryTimeout: number): Promise<Fleet> {
    const folder = await mkdtemp(join(tmpdir(), 'websocket-app-'));
    process.on('exit', () => rmSync(folder, {recursive: true, force: true, maxRetries: 3}));
    try {
      const keyFile = join(folder, 'jwks.json');
      const tokens = await TokenIssuer.create(keyFile);
      const fleet = new Fleet(
          await Daemon.start(folder, recoveryTimeout), tokens,
          await Dependency.start('dynamodb'), await Dependency.start('jwks', keyFile),
          await Dependency.start('management_api'));
      for (let i = 0; i < Fleet.WORKERS; ++i) await fleet.addWorker(`ws-${i + 1}`);
      return fleet;
    } catch (error) {
      Child.killAll();
      throw error;
    }
  }

  /** A client of the worker with that number, from 0. */
  connect(worker: number, user: string): Promise<ChatClient> {
    return ChatClient.connect(worker, this.ports[worker]!, user);
  }

  /** Writes what all processes have said so far, a file each. */
  async saveLogs(folder: string): Promise<void> {
    await mkdir(folder, {recursive: true});
    const logs = {
      breakerd: this.daemon.log,
      dynamodb: this.database.log,
      jwks: this.keys.log,
      management_api: this.management.log,
      ...Object.fromEntries(this.workers.map((worker, i) => [`ws-${i + 1}`, worker.lines])),
    };
    for (const [name, lines] of Object.entries(logs)) {
      await writeFile(join(folder, `${name}.log`), `${lines.join('\n')}\n`);
    }
  }

  /** Resolves with the workers' exit statuses. */
  stopWorkers(): Promise<Array<number | null>> {
    return Promise.all(this.workers.map((worker) => worker.stop()));
  }

  async stop(): Promise<void> {
    await this.stopWorkers();
    await Promise.all([this.database, this.keys, this.management].map((one) => one.stop()));
    await this.daemon.stop();
  }

  private async addWorker(workerId: string): Promise<void> {
    const child = new Child({
      name: workerId,
      program: process.execPath,
      args: ['--enable-source-maps', join(DIST, 'app', 'worker.js')],
      environment: {
        WORKER_ID: workerId,
        BREAKERD_TARGET: this.daemon.target,
        DYNAMODB_ENDPOINT: this.database.gate.endpoint,
        MANAGEMENT_ENDPOINT: this.management.gate.endpoint,
        JWKS_URI: `${this.keys.gate.endpoint}/jwks.json`,
        JWT_ISSUER: TokenIssuer.ISSUER,
        JWT_AUDIENCE: TokenIssuer.AUDIENCE,
        AWS_EC2_METADATA_DISABLED: 'true',
      },
      ready: /^\S+ info listening .*port=(\d+)/,
    });
    this.workers.push(child);
    const [, port] = await child.start();
    this.ports.push(Number(port));
  }
}
