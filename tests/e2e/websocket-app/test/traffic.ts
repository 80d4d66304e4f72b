/** @file Clients that ask again and again, and a record of what they were told. */

import {until} from './until.js';
import type {Outcome} from './chat_client.js';

export interface Answered {
  readonly worker: number;
  readonly asked: number;
  readonly time: number;
  readonly outcome: Outcome;
}

/** `Asker` is a client, or who makes one. */
export class Traffic<Asker extends {readonly worker: number}> {
  /** In the order of time. */
  readonly answers: Answered[] = [];
  private going = true;
  private readonly loops: Promise<void>[];

  /** Each asks, waits for the answer, pauses (between half of `pause` and all of it), ... */
  constructor(private readonly askers: readonly Asker[], pause: number,
              ask: (asker: Asker) => Promise<Outcome>) {
    this.loops = askers.map(async (asker) => {
      while (this.going) {
        await new Promise((resolve) => setTimeout(resolve, pause * (1 + Math.random()) / 2));
        const asked = Date.now();
        const outcome = await ask(asker);
        this.answers.push({worker: asker.worker, asked, time: Date.now(), outcome});
      }
    });
  }

  since(time: number): Answered[] {
    const first = this.answers.findLastIndex((one) => one.time < time) + 1;
    return this.answers.slice(first);
  }

  /** How often each outcome was had since then. */
  summary(since = 0): Record<Outcome, number> {
    const counts: Record<Outcome, number> = {};
    for (const {outcome} of this.since(since)) counts[outcome] = (counts[outcome] ?? 0) + 1;
    return counts;
  }

  /** Waits until each worker has answered so, `count` times, to what was asked since then. */
  async eachWorker(outcome: Outcome, count: number, since: number): Promise<void> {
    const workers = new Set(this.askers.map((asker) => asker.worker));
    await until(`${count} times "${outcome}" from each worker`, 20_000, () => {
      const had = new Map<number, number>();
      for (const one of this.since(since)) {
        if (one.asked < since || one.outcome !== outcome) continue;
        had.set(one.worker, (had.get(one.worker) ?? 0) + 1);
      }
      return [...workers].every((worker) => (had.get(worker) ?? 0) >= count);
    });
  }

  /** When the last of the workers gave that answer for the first time since then. */
  lastToAnswer(outcome: Outcome, since: number): number {
    const first = new Map<number, number>();
    for (const one of this.since(since)) {
      if (one.outcome === outcome && !first.has(one.worker)) first.set(one.worker, one.time);
    }
    return Math.max(...first.values());
  }

  /** Lets what was asked be answered, and asks no more. */
  async stop(): Promise<void> {
    this.going = false;
    await Promise.all(this.loops);
  }
}
