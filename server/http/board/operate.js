/** @fileoverview Forcing, clearing and resetting, with the daemon's admin token. */

import {ApiError, post} from './feed.js';
import {nameOf, parseDuration} from './words.js';

const TOKEN = 'breakerd-admin-token';
const ACTOR = 'breakerd-actor';

const ACTIONS = {
  'force-open': {
    path: 'override', mode: 'FORCED_OPEN', label: 'Force open',
    what: 'Every call is refused until this ends.', done: 'Forced open.',
  },
  'force-closed': {
    path: 'override', mode: 'FORCED_CLOSED', label: 'Force closed',
    what: 'Every call is let through and no rule opens the circuit until this ends.',
    done: 'Forced closed.',
  },
  'clear': {
    path: 'clear_override', label: 'Clear override',
    what: 'The breaker decides by itself again, closed and with nothing counted.',
    done: 'The override is cleared.',
  },
  'reset': {
    path: 'reset', label: 'Reset',
    what: 'The breaker starts anew: closed, and with nothing counted.', done: 'It is reset.',
  },
};

function byId(id) {
  return document.getElementById(id);
}

/** The buttons of the panel and the form that they open. */
export class Operate {
  /** @param {function(!Object)} done Called with the breaker's row after a success. */
  constructor(done) {
    this.done_ = done;
    this.form_ = byId('operate-form');
    this.fields_ = this.form_.elements;
    this.action_ = null;
    this.breaker_ = null;
    byId('actions').addEventListener('click', (event) => {
      const {action} = event.target.dataset;
      if (action !== undefined) this.ask_(action);
    });
    byId('operate-cancel').addEventListener('click', () => this.cancel());
    this.form_.addEventListener('submit', (event) => {
      event.preventDefault();
      this.send_();
    });
    this.fields_.ttl.addEventListener('input', () => this.checkTtl_());
  }

  /** @return {boolean} Whether a form is open. */
  get asking() {
    return this.action_ !== null;
  }

  /** Tells which breaker the panel shows; another one ends what was begun for the last. */
  show(breaker, admin) {
    byId('operate').hidden = !admin || breaker === null;
    if (breaker === null) return this.cancel();
    if (this.breaker_ === null || nameOf(this.breaker_) !== nameOf(breaker)) {
      this.cancel();
      byId('operate-done').hidden = true;
    }
    this.breaker_ = breaker;
    byId('actions').querySelector('[data-action=clear]').hidden = breaker.override === null;
  }

  cancel() {
    const hadFocus = this.form_.contains(document.activeElement);
    const before = this.action_;
    this.action_ = null;
    this.form_.hidden = true;
    byId('actions').hidden = false;
    if (hadFocus) byId('actions').querySelector(`[data-action=${before}]`).focus();
  }

  ask_(action) {
    const {label, mode, what} = ACTIONS[action];
    this.action_ = action;
    this.form_.hidden = false;
    byId('actions').hidden = true;
    byId('operate-done').hidden = true;
    this.complain_('');
    byId('operate-what').textContent = what;
    byId('operate-go').textContent = label;
    this.form_.dataset.action = action;
    for (const field of this.form_.querySelectorAll('[data-for=force]')) {
      field.hidden = mode === undefined;
      field.querySelector('input').disabled = mode === undefined;
    }
    this.fields_.actor.value = localStorage.getItem(ACTOR) ?? '';
    this.needToken_(sessionStorage.getItem(TOKEN) === null);
    this.form_.querySelector('label:not([hidden]) input, #operate-go').focus();
  }

  needToken_(needed) {
    byId('token-field').hidden = !needed;
    this.fields_.token.disabled = !needed;
    this.fields_.token.value = '';
  }

  checkTtl_() {
    const ttl = this.fields_.ttl.value.trim();
    const good = ttl === '' || parseDuration(ttl) > 0;
    this.fields_.ttl.setCustomValidity(good ? '' : 'A duration is written as 90s, 10m or 1h30m.');
  }

  body_({mode}) {
    const {service, operation} = this.breaker_;
    if (mode === undefined) return {service, operation};
    const {reason, actor, ttl} = this.fields_;
    localStorage.setItem(ACTOR, actor.value);
    return {
      service, operation, mode, reason: reason.value, actor: actor.value,
      ttl_seconds: (parseDuration(ttl.value) ?? 0) / 1000,
    };
  }

  async send_() {
    const action = ACTIONS[this.action_];
    const token = sessionStorage.getItem(TOKEN) ?? this.fields_.token.value;
    byId('operate-go').disabled = true;
    this.complain_('');
    try {
      const row = await post(action.path, token, this.body_(action));
      sessionStorage.setItem(TOKEN, token);
      this.fields_.reason.value = '';
      this.cancel();
      byId('operate-done').textContent = action.done;
      byId('operate-done').hidden = false;
      this.done_(row);
    } catch (error) {
      this.refused_(error);
    }
    byId('operate-go').disabled = false;
  }

  refused_(error) {
    if (!(error instanceof ApiError)) {
      this.complain_('The daemon does not answer. Nothing is known to have changed.');
    } else if (error.status === 401) {
      sessionStorage.removeItem(TOKEN);
      this.needToken_(true);
      this.fields_.token.focus();
      this.complain_('The daemon refuses this token. Nothing has changed.');
    } else {
      this.complain_(error.message);
    }
  }

  complain_(text) {
    byId('operate-error').textContent = text;
    byId('operate-error').hidden = text === '';
  }
}
