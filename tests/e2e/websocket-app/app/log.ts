/** @file The log: one line is one event, in logfmt, on stdout. */

export type Fields = Record<string, string | number>;

function quoted(value: string | number): string {
  const text = String(value);
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text);
}

export class Log {
  constructor(private readonly workerId: string) {}

  info(event: string, fields: Fields = {}): void {
    this.write('info', event, fields);
  }

  warn(event: string, fields: Fields = {}): void {
    this.write('warn', event, fields);
  }

  private write(level: string, event: string, fields: Fields): void {
    const words = Object.entries({worker: this.workerId, ...fields})
        .map(([name, value]) => `${name}=${quoted(value)}`);
    process.stdout.write(`${new Date().toISOString()} ${level} ${event} ${words.join(' ')}\n`);
  }
}
