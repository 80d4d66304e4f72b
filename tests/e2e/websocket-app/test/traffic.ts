/** @file Clients that keep asking, and a record of what they were told. */

import {until} from './until.js';
import type {ChatClient, Outcome} from './chat_client.js';

export interface Answered {
  readonly worker: number;
  readonly asked: number;
  readonly time: number;
  readonly outcome: Outcome;
}

export class Traffic {
  /** In the order of time. */
  readonly answers: Answered[] = [];
  private going = true;
  private readonly loops: Promise<void>[];

  /** Each client asks, waits for the answer, pauses (between half of `pause` and all of it), ... */
  constructor(private readonly clients: readonly ChatClient[], pause: number,
              ask: (client: ChatClient) => Promise<Outcome>) {
    this.loops = clients.map(async (client) => {
      while (this.going) {
        await new Promise((resolve) => setTimeout(resolve, pause * (1 + Math.random()) / 2));
        const asked = Date.now();
        const outcome = await ask(client);
        this.answers.push({worker: client.worker, asked, time: Date.now(), outcome});
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
    const workers = new Set(this.clients.map((client) => client.worker));
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
