/** @fileoverview Waiting for a condition, not for a time. */

import {setTimeout as sleep} from 'node:timers/promises';

/** Far above what anything takes on a loaded machine; no passing test waits for it to pass. */
export const PATIENCE_MS = 20_000;

/** Resolves with what `condition` (which may be async) gives, as soon as that is truthy. */
export async function eventually(condition, what = condition.toString()) {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (performance.now() > deadline) throw new Error(`It never came to this: ${what}`);
    await sleep(2);
  }
}
