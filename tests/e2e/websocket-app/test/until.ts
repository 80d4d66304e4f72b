/** @file Waiting for conditions. */

const POLL_MS = 5;

/** Resolves as soon as `holds` does; rejects when it throws, or after `timeout` milliseconds. */
export async function until(
    what: string, timeout: number, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + timeout;
  while (!await holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${timeout} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
