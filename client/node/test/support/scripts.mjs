/** @fileoverview Programs in a process of their own. */

import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {fileURLToPath} from 'node:url';

export const PACKAGE = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Runs a program to its end.
 *
 * @return {!Promise<{code: (number|null), signal: (string|null), output: string}>}
 */
export async function run(program, args, options = {}) {
  const child = spawn(program, args, {stdio: ['ignore', 'pipe', 'pipe'], ...options});
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => output += text);
  }
  // A program that does not end fails its test by its signal.
  const timer = setTimeout(() => child.kill('SIGKILL'), 120_000);
  const [code, signal] = await once(child, 'close');
  clearTimeout(timer);
  return {code, signal, output};
}

/** Runs a module, in which `import 'breakerd-client'` works, and the environment holds `env`. */
export function runModule(text, env = {}, flags = []) {
  return run(process.execPath, [...flags, '--input-type=module', '--eval', text],
      {cwd: PACKAGE, env: {...process.env, ...env}});
}
