/** @fileoverview A real daemon on free ports, and breakerctl against it. */

import {execFile, spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {createInterface} from 'node:readline';

const START_TIMEOUT_MS = 20_000;

function required(variable) {
  const value = process.env[variable];
  if (!value) throw new Error(`${variable} is not set; see the head of board_test.mjs`);
  return value;
}

/** Resolves with the addresses that the log tells of. */
function addressesIn(log) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('breakerd does not listen')), START_TIMEOUT_MS);
    const found = {};
    log.on('line', (line) => {
      const match = /^\S+ \w+ (http_)?listening .*?address=(\S+)/.exec(line);
      if (match === null) return;
      found[match[1] === undefined ? 'grpc' : 'http'] = match[2];
      if (found.grpc === undefined || found.http === undefined) return;
      clearTimeout(timer);
      resolve(found);
    });
    log.on('close', () => reject(new Error('breakerd ended before it listened')));
  });
}

export class Daemon {
  /** @param {{token: (string|undefined)}} options With a token, admin over HTTP is on. */
  static async start({token} = {}) {
    const daemon = new Daemon();
    daemon.binary_ = required('BREAKERD_PATH');
    daemon.folder_ = await mkdtemp(join(tmpdir(), 'board-test-'));
    daemon.flags_ = ['--max_new_breakers_per_minute', '0'];  // tests bring many at once
    if (token !== undefined) {
      const file = join(daemon.folder_, 'token');
      await writeFile(file, `${token}\n`, {mode: 0o600});
      daemon.flags_.push('--http_admin_token_file', file);
    }
    await daemon.run_('127.0.0.1:0', '127.0.0.1:0');
    return daemon;
  }

  get url() {
    return `http://${this.http_}/`;
  }

  /** Ends it as a crash would. */
  async kill() {
    this.process_.kill('SIGKILL');
    await this.ended_;
  }

  /** Starts it again on the same ports, with what it had stored. */
  async restart() {
    await this.run_(this.grpc_, this.http_);
  }

  async stop() {
    if (this.process_.exitCode === null) this.process_.kill('SIGTERM');
    await this.ended_;
    await rm(this.folder_, {recursive: true, force: true});
  }

  /** @return {!Promise<{status: number, output: string}>} */
  ctl(...args) {
    return new Promise((resolve) => {
      execFile(required('BREAKERCTL_PATH'), ['--target', this.grpc_, ...args],
          (error, stdout, stderr) => {
            resolve({status: error === null ? 0 : error.code, output: stdout + stderr});
          });
    });
  }

  /** Makes a guarded call that ends as told. */
  call(name, {fails = false, worker = 'w1', policy = ''} = {}) {
    const options = ['--worker_id', worker, ...policy === '' ? [] : ['--policy', policy]];
    return this.ctl('exec', name, ...options, '--', fails ? 'false' : 'true');
  }

  async run_(grpc, http) {
    this.process_ = spawn(this.binary_, [
      '--listen', grpc, '--http_listen', http, '--data_dir', join(this.folder_, 'data'),
      ...this.flags_,
    ], {stdio: ['ignore', 'ignore', 'pipe']});
    this.ended_ = once(this.process_, 'exit');
    const addresses =
        await addressesIn(createInterface({input: this.process_.stderr})).catch(async (error) => {
          await this.stop();
          throw error;
        });
    this.grpc_ = addresses.grpc;
    this.http_ = addresses.http;
  }
}

/** Runs `task` for each item, a few at a time. */
export async function inParallel(items, width, task) {
  const left = [...items];
  const worker = async () => {
    while (left.length > 0) await task(left.pop());
  };
  await Promise.all(Array.from({length: width}, worker));
}
