/** @fileoverview The list of breakers: a row of the table each, touched only where it changed. */

import {draw} from './chart.js';
import {inTrouble} from './fleet.js';
import {ago, count, countdown, duration, percent, several, stateWord} from './words.js';

/** Sets a text; leaves the page alone where it is the same. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows a state in a .pill by shape, word and colour. */
export function showState(pill, state) {
  if (pill.dataset.state === state) return;
  pill.dataset.state = state;
  pill.querySelector('use').setAttribute('href', `#sign-${state}`);
  pill.querySelector('b').textContent = stateWord(state);
}

/** @return {string} The part of the page's address that names a breaker. */
export function linkTo({service, operation}) {
  return `#${new URLSearchParams({service, operation})}`;
}

/** @return {string} When a call will be let through, as far as that is known. */
function nextAttempt(row, now) {
  if (row.override !== null) {
    const {expires_at: end} = row.override;
    return end === null ? 'until cleared' : `ends in ${countdown(end - now)}`;
  }
  if (row.state === 'HALF_OPEN') return 'probing';
  if (row.next_attempt_time === null) return '';
  const left = row.next_attempt_time - now;
  return left <= 0 ? 'now' : `in ${countdown(left)}`;
}

function lastFailure(row, now) {
  if (row.last_failure === null) return '';
  const {error, time} = row.last_failure;
  return `last failure ${error === '' ? '' : `${error}, `}${ago(time, now)}`;
}

/** @return {?Object} The transition that tells why the circuit is as it is. */
function why({override, opening, last_transition: last}) {
  return override === null && opening !== null ? opening : last;
}

function reason(row, now) {
  if (inTrouble(row) && why(row) !== null) return why(row).reason;
  return lastFailure(row, now);
}

function isTrip(cause) {
  return /^(CONSECUTIVE_|FAILURE|SLOW_)/.test(cause);
}

function more(row, now) {
  if (!inTrouble(row) || why(row) === null) return '';
  const {cause, time} = why(row);
  const parts = [`for ${duration(now - time)}`];
  if (row.last_transition.generation !== why(row).generation) parts.push(row.last_transition.reason);
  parts.push(lastFailure(row, now));
  // The reason of a trip counts them already.
  if (row.failing_workers > 0 && !isTrip(cause)) {
    parts.push(`${several(row.failing_workers, 'worker')} failing`);
  }
  return parts.filter((part) => part !== '').join(' · ');
}

/** @return {!Array<string>} */
export function tags(row) {
  const words = [];
  if (row.override !== null) {
    words.push(row.override.mode === 'FORCED_OPEN' ? 'forced open' : 'forced closed');
  }
  if (row.shadow) words.push('shadow');
  if (row.state === 'CLOSED' && row.ramp_fraction < 1) {
    words.push(`ramp ${percent(row.ramp_fraction)}`);
  }
  return words;
}

/** The elements of one row. */
class RowView {
  constructor(template, row) {
    this.element = template.content.firstElementChild.cloneNode(true);
    const find = (selector) => this.element.querySelector(selector);
    this.pill_ = find('.pill');
    this.link = find('a');
    this.tags_ = find('.tags');
    this.next_ = find('.next');
    this.reason_ = find('.reason');
    this.more_ = find('.more');
    this.percent_ = find('.percent');
    this.chart_ = find('.chart');
    this.numbers_ = ['.calls', '.failures', '.slow', '.flight'].map(find);
    this.visible = false;
    this.element.dataset.key = row.key;
    this.link.href = linkTo(row);
    this.link.tabIndex = -1;
    this.link.title = row.name;
    find('.service').textContent = `${row.service}/`;
    find('.operation').textContent = row.operation;
  }

  show(row, now) {
    showState(this.pill_, row.state);
    this.element.dataset.state = row.state;
    this.element.classList.toggle('forced', row.override !== null);
    say(this.tags_, tags(row).join(' · '));
    say(this.percent_, row.calls === 0 ? '–' : percent(row.failure_rate));
    this.percent_.classList.toggle('some', row.failures > 0);
    const numbers = [row.calls, row.failures, row.slow, row.in_flight];
    this.numbers_.forEach((cell, i) => {
      say(cell, count(numbers[i]));
      cell.classList.toggle('zero', numbers[i] === 0);
    });
    this.tick(row, now);
    if (this.visible) this.draw(row);
  }

  /** What changes by time alone. */
  tick(row, now) {
    say(this.next_, nextAttempt(row, now));
    say(this.reason_, reason(row, now));
    say(this.more_, more(row, now));
  }

  draw(row) {
    draw(this.chart_, row.chart, false);
  }

  flash() {
    this.element.classList.remove('changed');
    requestAnimationFrame(() => this.element.classList.add('changed'));
  }
}

/** The table's body. */
export class BreakerTable {
  /**
   * @param {!Element} body
   * @param {!HTMLTemplateElement} template
   * @param {!Fleet} fleet
   */
  constructor(body, template, fleet) {
    this.body_ = body;
    this.template_ = template;
    this.fleet_ = fleet;
    /** @type {!Map<string, !RowView>} */
    this.views_ = new Map();
    /** Keys in the order of the rows that are shown. */
    this.order_ = [];
    this.current_ = null;
    // Charts are drawn for the rows that can be seen, which are few however large the fleet is.
    this.sight_ = new IntersectionObserver((entries) => this.seen_(entries),
        {rootMargin: '200px'});
  }

  /** @return {number} Rows shown. */
  get size() {
    return this.order_.length;
  }

  /** @return {?string} The key of the row that the keyboard is at. */
  get current() {
    return this.current_;
  }

  /** Shows what the fleet knows of these breakers. */
  refresh(keys) {
    const now = this.fleet_.now();
    for (const key of keys) {
      const row = this.fleet_.rows.get(key);
      if (row !== undefined) this.viewOf_(row).show(row, now);
    }
  }

  /** Draws the eye to a row; an animation of a thousand of them would only cost. */
  flash(key) {
    const view = this.views_.get(key);
    if (view?.visible) view.flash();
  }

  /** Brings the rows into the order of fleet.ordered(). */
  arrange(search, filter) {
    const focused = this.body_.contains(document.activeElement) ? document.activeElement : null;
    const rows = this.fleet_.ordered(search, filter);
    this.order_ = rows.map((row) => row.key);
    const shown = new Set(this.order_);
    for (const [key, view] of this.views_) {
      if (!this.fleet_.rows.has(key)) this.drop_(key, view);
      else if (!shown.has(key)) view.element.remove();
    }
    this.place_(rows.map((row) => this.viewOf_(row).element));
    // A row that moves loses the focus.
    if (focused !== null && focused !== document.activeElement) focused.focus();
    this.setCurrent_(shown.has(this.current_) ? this.current_ : this.order_[0] ?? null);
  }

  /** Lets times run on in the rows that can be seen. */
  tick() {
    const now = this.fleet_.now();
    this.forVisible_((view, row) => view.tick(row, now));
  }

  /** Draws the charts that can be seen. */
  drawCharts() {
    this.forVisible_((view, row) => view.draw(row));
  }

  /** Focuses a row by the keyboard. */
  focus(key) {
    this.setCurrent_(key);
    const view = this.views_.get(key);
    view?.link.focus({preventScroll: true});
    view?.element.scrollIntoView({block: 'nearest'});
  }

  /** Focuses the row that is so many further down; the first one if none has the focus. */
  move(steps) {
    if (this.order_.length === 0) return;
    const at = this.order_.indexOf(this.current_);
    const start = this.body_.contains(document.activeElement) ? at : at - Math.sign(steps);
    const target = Math.min(Math.max(start + steps, 0), this.order_.length - 1);
    this.focus(this.order_[target]);
  }

  /** Marks the row whose details are open. */
  select(key) {
    this.body_.querySelector('[aria-current]')?.removeAttribute('aria-current');
    const view = this.views_.get(key);
    if (view === undefined) return;
    view.element.setAttribute('aria-current', 'true');
    this.setCurrent_(key);
  }

  viewOf_(row) {
    let view = this.views_.get(row.key);
    if (view === undefined) {
      view = new RowView(this.template_, row);
      this.views_.set(row.key, view);
      this.sight_.observe(view.element);
      view.show(row, this.fleet_.now());
    }
    return view;
  }

  drop_(key, view) {
    this.sight_.unobserve(view.element);
    view.element.remove();
    this.views_.delete(key);
  }

  /** Moves as few elements as one that left its place asks for. */
  place_(elements) {
    let at = this.body_.firstElementChild;
    for (const element of elements) {
      if (at !== element && at?.nextElementSibling === element) at = element;
      if (at === element) {
        at = at.nextElementSibling;
      } else {
        this.body_.insertBefore(element, at);
      }
    }
  }

  /** One row takes part in the tab order: the list is one stop, however long. */
  setCurrent_(key) {
    const before = this.views_.get(this.current_);
    if (before !== undefined) before.link.tabIndex = -1;
    this.current_ = key;
    const view = this.views_.get(key);
    if (view !== undefined) view.link.tabIndex = 0;
  }

  forVisible_(action) {
    for (const key of this.order_) {
      const view = this.views_.get(key);
      if (view.visible) action(view, this.fleet_.rows.get(key));
    }
  }

  seen_(entries) {
    for (const {target, isIntersecting} of entries) {
      const view = this.views_.get(target.dataset.key);
      const row = this.fleet_.rows.get(target.dataset.key);
      if (view === undefined || row === undefined) continue;
      view.visible = isIntersecting;
      if (isIntersecting) view.show(row, this.fleet_.now());
    }
  }
}
