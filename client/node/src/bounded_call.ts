import {CallTimeoutError} from './errors.js';

/** What a guarded call gets: a signal if the caller gave one, or a timeout; else undefined. */
export type GuardedFunction<T> = (signal?: AbortSignal) => T | PromiseLike<T>;

/**
 * Runs `fn` until it is done, `timeout` milliseconds have passed (CallTimeoutError) or `signal` is
 * aborted (its reason). What `fn` itself comes to after that is dropped; the signal that it was
 * given tells it to stop.
 */
export function runBounded<T>(
    fn: GuardedFunction<T>, signal: AbortSignal | undefined, timeout: number | undefined,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const controller = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const settle = () => {
      if (timer !== undefined) clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    const stop = (reason: unknown) => {
      settle();
      reject(reason);
      controller.abort(reason);
    };
    const onAbort = () => stop(signal!.reason);

    signal?.addEventListener('abort', onAbort);
    if (timeout !== undefined) {
      timer = setTimeout(() => stop(new CallTimeoutError(timeout)), timeout);
    }
    try {
      Promise.resolve(fn(controller.signal)).then(resolve, reject).finally(settle);
    } catch (error) {
      settle();
      reject(error);
    }
  });
}
