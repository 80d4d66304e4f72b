/** @fileoverview A real daemon on a free port, and breakerctl against it. */

import {execFile, spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtemp, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {createInterface} from 'node:readline';

const START_TIMEOUT_MS = 20_000;

function required(variable) {
  const value = process.env[variable];
  if (!value) throw new Error(`${variable} is not set; see run_tests.sh`);
  return value;
}

/** Resolves with the address that the log tells of. */
function addressIn(log) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('breakerd does not listen')), START_TIMEOUT_MS);
    log.on('line', (line) => {
      const match = /^\S+ \w+ listening .*?address=(\S+)/.exec(line);
      if (match === null) return;
      clearTimeout(timer);
      resolve(match[1]);
    });
    log.on('close', () => {
      clearTimeout(timer);
      reject(new Error('breakerd ended before it listened'));
    });
  });
}

export class DaemonProcess {
  /** @type {string} host:port */
  target;

  /** With such flags besides. */
  static async start(flags = []) {
    const daemon = new DaemonProcess();
    daemon.flags_ = flags;
    daemon.binary_ = required('BREAKERD_PATH');
    daemon.folder_ = await mkdtemp(join(tmpdir(), 'node-client-test-'));
    await daemon.run_('127.0.0.1:0');
    return daemon;
  }

  /** Ends it as a crash would. */
  async kill() {
    this.process_.kill('SIGKILL');
    await this.ended_;
  }

  /** Starts it again on the same port, with what it had stored. */
  async restart() {
    await this.run_(this.target);
  }

  /** It answers nothing and closes nothing, until resume. */
  pause() {
    this.process_.kill('SIGSTOP');
  }

  resume() {
    this.process_.kill('SIGCONT');
  }

  async stop() {
    if (this.process_.exitCode === null && this.process_.signalCode === null) {
      this.process_.kill('SIGCONT');
      this.process_.kill('SIGTERM');
    }
    await this.ended_;
    await rm(this.folder_, {recursive: true, force: true});
  }

  /** @return {!Promise<string>} */
  ctl(...args) {
    return new Promise((resolve, reject) => {
      execFile(required('BREAKERCTL_PATH'), ['--target', this.target, ...args],
          (error, stdout, stderr) => {
            if (error === null) resolve(stdout);
            else reject(new Error(`breakerctl ${args.join(' ')}: ${stdout}${stderr}`));
          });
    });
  }

  async run_(listen) {
    this.process_ = spawn(this.binary_, [
      '--listen', listen, '--http_listen', 'off', '--data_dir', join(this.folder_, 'data'),
      ...this.flags_,
    ], {stdio: ['ignore', 'ignore', 'pipe']});
    this.ended_ = once(this.process_, 'exit');
    this.target = await addressIn(createInterface({input: this.process_.stderr}))
        .catch(async (error) => {
          await this.stop();
          throw error;
        });
  }
}
