/** @fileoverview All about one breaker, beside the list. */

import {draw} from './chart.js';
import {ApiError, get} from './feed.js';
import {say, showState, tags} from './table.js';
import {ago, clock, count, countdown, duration, keyOf, nameOf, percent, plain, stateWord}
  from './words.js';

const SOURCES = {
  BUILT_IN: 'built in',
  WORKER: 'brought by a worker',
  OPERATOR: 'set by an operator',
};

function byId(id) {
  return document.getElementById(id);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className !== '') made.className = className;
  made.textContent = text;
  return made;
}

/** Fills a <dl>; leaves it alone where it says the same already, so that a selection stays. */
function list(target, pairs) {
  const text = JSON.stringify(pairs);
  if (target.dataset.shown === text) return;
  target.dataset.shown = text;
  target.replaceChildren(...pairs.map(([term, value]) => {
    const pair = document.createElement('div');
    pair.append(element('dt', '', term), element('dd', '', value));
    return pair;
  }));
}

function attempt(breaker, now) {
  if (breaker.override !== null) return '';
  if (breaker.state === 'HALF_OPEN') return 'Probing: a call is let through to find out.';
  if (breaker.next_attempt_time === null) return '';
  const left = breaker.next_attempt_time - now;
  return left <= 0 ? 'Next attempt now' :
      `Next attempt in ${countdown(left)}, at ${clock(breaker.next_attempt_time, now)}`;
}

function overridePairs({mode, reason, actor, expires_at: end}, now) {
  return [
    ['Override', mode === 'FORCED_OPEN' ? 'forced open' : 'forced closed'],
    ['Who', actor === '' ? '–' : actor],
    ['Reason', reason === '' ? '–' : reason],
    ['Ends', end === null ? 'when it is cleared' :
        `in ${countdown(end - now)}, at ${clock(end, now)}`],
  ];
}

function lastPairs(breaker, now) {
  const pairs = [];
  const {last_failure: failure, last_success_time: success} = breaker;
  if (failure !== null) {
    const error = failure.error === '' ? '' : `: ${failure.error}`;
    pairs.push(['Last failure', `${ago(failure.time, now)}${error}`]);
  }
  if (typeof success === 'number') pairs.push(['Last success', ago(success, now)]);
  return pairs;
}

function windowPairs(breaker) {
  return [
    ['calls', count(breaker.calls)],
    ['failed', count(breaker.failures)],
    ['failure rate', breaker.calls === 0 ? '–' : percent(breaker.failure_rate)],
    ['slow', count(breaker.slow)],
    ['failures in a row', count(breaker.consecutive_failures)],
    ['in flight', count(breaker.in_flight)],
  ];
}

/** @return {string} What opened the circuit first, where its last change was another. */
function opened({opening, last_transition: last}, now) {
  if (opening === null || opening.generation === last.generation) return '';
  return `Opened ${ago(opening.time, now)}: ${opening.reason}`;
}

/** The panel. */
export class Detail {
  /**
   * @param {!Element} panel
   * @param {!Fleet} fleet
   * @param {function(!Object)} heard Called with what the daemon says of the breaker.
   */
  constructor(panel, fleet, heard) {
    this.heard_ = heard;
    this.panel_ = panel;
    this.fleet_ = fleet;
    /** What the daemon said of the breaker; before that, the row of the list. */
    this.breaker = null;
    this.key_ = null;
    this.busy_ = false;
    this.again_ = false;
  }

  /** @return {boolean} */
  get open() {
    return this.key_ !== null;
  }

  /** Shows a breaker, which need not be in the list. */
  show(name) {
    const key = keyOf(name);
    if (key === this.key_) return;
    this.key_ = key;
    this.name_ = name;
    this.breaker = this.fleet_.rows.get(key) ?? null;
    say(byId('detail-name'), nameOf(name));
    byId('gone').hidden = true;
    this.panel_.hidden = false;
    this.panel_.scrollTop = 0;
    this.render_();
    this.reload();
  }

  hide() {
    this.key_ = null;
    this.breaker = null;
    this.panel_.hidden = true;
  }

  /** To be called when news of these breakers have come. */
  changed(keys) {
    if (keys.includes(this.key_)) this.reload();
  }

  /** Asks the daemon again, at most one question at a time. */
  async reload() {
    if (!this.open) return;
    this.again_ = this.busy_;
    if (this.busy_) return;
    this.busy_ = true;
    const key = this.key_;
    try {
      const answer = await get('breaker', this.name_);
      if (key === this.key_) this.take_(answer);
    } catch (error) {
      if (key === this.key_) this.failed_(error);
    }
    this.busy_ = false;
    if (this.again_ || key !== this.key_) this.reload();
  }

  /** Lets times run on. */
  tick() {
    if (this.breaker === null) return;
    const {breaker} = this;
    const now = this.fleet_.now();
    const since = breaker.last_transition?.time;
    say(byId('since'), [since === undefined ? '' : `for ${duration(now - since)}`, ...tags(breaker)]
        .filter((part) => part !== '').join(' · '));
    say(byId('attempt'), attempt(breaker, now));
    say(byId('opened'), opened(breaker, now));
    if (breaker.override !== null) list(byId('override'), overridePairs(breaker.override, now));
    list(byId('last'), lastPairs(breaker, now));
    this.showWorkers_(breaker, now);
  }

  take_(breaker) {
    this.breaker = breaker;
    byId('gone').hidden = true;
    this.render_();
    this.heard_(breaker);
  }

  failed_(error) {
    byId('gone').hidden = false;
    const gone = error instanceof ApiError && error.status === 404;
    say(byId('gone'), gone ? 'There is no such breaker, or no longer.' :
        'The daemon does not answer; this is the last that is known.');
  }

  render_() {
    const {breaker} = this;
    for (const section of this.panel_.children) {
      if (section.matches('section:not(#operate), .verdict')) section.hidden = breaker === null;
    }
    byId('override').hidden = breaker === null || breaker.override === null;
    if (breaker === null) return;
    byId('verdict').dataset.state = breaker.state;
    showState(byId('verdict').querySelector('.pill'), breaker.state);
    say(byId('reason'), breaker.last_transition?.reason ?? 'It has never changed its state.');
    draw(byId('detail-chart'), breaker.chart, true);
    list(byId('window'), windowPairs(breaker));
    if (breaker.lifetime !== undefined) this.renderRest_(breaker);
    this.tick();
  }

  /** What only the daemon's full answer has. */
  renderRest_(breaker) {
    list(byId('lifetime'),
        Object.entries(breaker.lifetime).map(([field, n]) => [plain(field), count(n)]));
    list(byId('policy'), breaker.policy.map(({field, value}) => [field, value]));
    say(byId('policy-source'), SOURCES[breaker.policy_source] ?? breaker.policy_source);
    const newest = breaker.transitions[0]?.generation ?? 0;
    const transitions = byId('transitions');
    const shown = `${this.key_} ${newest}`;
    if (transitions.dataset.shown === shown) return;
    transitions.dataset.shown = shown;
    transitions.replaceChildren(...breaker.transitions.map((change) => this.change_(change)));
    if (breaker.transitions.length === 0) transitions.append(element('li', 'none', 'None yet.'));
  }

  change_(change) {
    const item = element('li', '', '');
    const time = element('time', '', clock(change.time, this.fleet_.now()));
    time.dateTime = new Date(change.time).toISOString();
    const states = element('b', '', `${stateWord(change.from)} → ${stateWord(change.to)}`);
    states.dataset.state = change.to;
    item.append(time, ' ', states, element('span', 'reason', change.reason));
    return item;
  }

  showWorkers_({failing_worker_ids: workers, failing_workers: number}, now) {
    const target = byId('workers');
    const entries = workers === undefined ? [] : workers.toReversed().map(
        ({worker_id: id, time}) => [id === '' ? '(no name)' : id, ago(time, now)]);
    const shown = JSON.stringify(entries);
    if (target.dataset.shown === shown) return;
    target.dataset.shown = shown;
    target.replaceChildren(...entries.map(([id, when]) => {
      const item = element('li', '', '');
      item.append(element('code', '', id), element('span', '', when));
      return item;
    }));
    if (entries.length === 0) {
      target.append(element('li', 'none', number > 0 ? '' : 'Nobody within the window.'));
    }
  }
}
