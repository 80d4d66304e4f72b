/** @fileoverview The way to the daemon: its stream of news, and plain requests. */

/** A second's silence is usual, as the daemon sends rows about as often; this is not. */
const LONGEST_SILENCE_MS = 10_000;
const RETRY_MS = 2000;

/** An answer that is no success. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function answerOf(response) {
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new ApiError(response.status, answer.error ?? `The daemon answered ${response.status}.`);
  }
  return answer;
}

/** @return {!Promise<!Object>} */
export async function get(path, parameters = {}) {
  const query = new URLSearchParams(parameters);
  return answerOf(await fetch(`api/${path}?${query}`, {cache: 'no-store'}));
}

/** @return {!Promise<!Object>} */
export async function post(path, token, body) {
  return answerOf(await fetch(`api/${path}`, {
    method: 'POST',
    headers: {'Authorization': `Bearer ${token}`, 'Content-Type': 'application/json'},
    body: JSON.stringify(body),
  }));
}

const NEWS = ['transition', 'rows', 'interval', 'removed'];

/**
 * Keeps a stream open. Where there is none (the daemon is away, or has too many), it asks for the
 * whole instead, every two seconds, and tries the stream again.
 */
export class Feed {
  /**
   * @param {{search: function(): string, loaded: function(!Object),
   *     news: function(string, !Object), status: function(string)}} listener `search` names what
   *     to load; `status` hears 'live', 'polling', 'reconnecting' or 'away'.
   */
  constructor(listener) {
    this.listener_ = listener;
    this.stream_ = null;
    // News that arrives while an answer is under way, to be applied on top of it.
    this.waiting_ = null;
    this.loads_ = 0;
    this.lastHeard_ = Date.now();
    this.status_ = '';
  }

  start() {
    this.connect_();
    setInterval(() => this.watchSilence_(), 1000);
  }

  /** Loads all breakers; of several calls at once the last one counts. */
  async load() {
    const mine = ++this.loads_;
    this.waiting_ ??= [];
    try {
      const answer = await get('breakers', {search: this.listener_.search()});
      if (mine !== this.loads_) return;
      this.listener_.loaded(answer);
      const waiting = this.waiting_;
      this.waiting_ = null;
      for (const [kind, data] of waiting) this.listener_.news(kind, data);
    } catch (error) {
      if (mine === this.loads_) this.waiting_ = null;
      throw error;
    }
  }

  connect_() {
    const stream = new EventSource('api/events');
    this.stream_ = stream;
    this.lastHeard_ = Date.now();
    stream.onopen = () => {
      this.lastHeard_ = Date.now();
      this.load().then(() => this.tell_('live'), () => this.lost_(stream));
    };
    // The browser's own retries tell nothing of what is wrong, and end for good with a 503.
    stream.onerror = () => this.lost_(stream);
    for (const kind of NEWS) {
      stream.addEventListener(kind, (event) => this.heard_(kind, JSON.parse(event.data)));
    }
    stream.addEventListener('resync', () => this.load().catch(() => this.lost_(stream)));
  }

  heard_(kind, data) {
    this.lastHeard_ = Date.now();
    if (this.waiting_ !== null) {
      this.waiting_.push([kind, data]);
    } else {
      this.listener_.news(kind, data);
    }
  }

  async lost_(stream) {
    if (stream !== this.stream_) return;
    stream.close();
    this.stream_ = null;
    if (this.status_ === 'live') this.tell_('reconnecting');
    try {
      await this.load();
      this.tell_('polling');
    } catch {
      this.tell_('away');
    }
    setTimeout(() => this.connect_(), RETRY_MS);
  }

  tell_(status) {
    this.status_ = status;
    this.listener_.status(status);
  }

  /** A connection may be dead without either end knowing. */
  watchSilence_() {
    const silent = Date.now() - this.lastHeard_ > LONGEST_SILENCE_MS;
    if (silent && this.stream_ !== null) this.lost_(this.stream_);
  }
}
