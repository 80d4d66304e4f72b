/** @fileoverview Changes of state of all breakers, newest first. */

import {get} from './feed.js';
import {linkTo, say, showState} from './table.js';
import {clock, nameOf, stateWord} from './words.js';

const LIMIT = 200;
/** A page that is left open for days shall not grow for days. */
const MOST_ROWS = 1000;

/** @return {boolean} */
function matches(change, search, filter) {
  const ofFilter = filter === '' || change.to === filter ||
      (filter === 'FORCED' && change.cause.startsWith('OVERRIDE_'));
  return ofFilter && nameOf(change).toLowerCase().includes(search.toLowerCase());
}

function identity({service, operation, generation, time}) {
  return `${service}\n${operation}\n${generation}\n${time}`;
}

/** The table of changes. */
export class History {
  /**
   * @param {{body: !Element, template: !HTMLTemplateElement, nothing: !Element, error: !Element}}
   *     elements
   * @param {!Fleet} fleet
   */
  constructor(elements, fleet) {
    this.elements_ = elements;
    this.fleet_ = fleet;
    this.changes_ = [];
    this.search_ = '';
    this.filter_ = '';
    this.loads_ = 0;
    // What came while an answer was under way, which may lack it.
    this.arrived_ = [];
  }

  /** Asks the daemon for those that match; news are added to them by add(). */
  async load(search, filter) {
    this.search_ = search;
    this.filter_ = filter;
    const mine = ++this.loads_;
    this.arrived_ = [];
    try {
      const {transitions} = await get('history', {search, limit: LIMIT});
      if (mine !== this.loads_) return;
      const known = new Set(transitions.map(identity));
      const missing = this.arrived_.filter((change) => !known.has(identity(change)));
      this.changes_ = [...missing, ...transitions];
      this.elements_.error.hidden = true;
    } catch (error) {
      if (mine !== this.loads_) return;
      this.elements_.error.hidden = false;
      say(this.elements_.error, `The history could not be loaded: ${error.message}`);
    }
    this.show_();
  }

  add(change) {
    this.arrived_.unshift(change);
    this.changes_.unshift(change);
    this.changes_.length = Math.min(this.changes_.length, MOST_ROWS);
    this.arrived_.length = Math.min(this.arrived_.length, MOST_ROWS);
    if (!matches(change, this.search_, this.filter_)) return;
    const row = this.row_(change);
    row.classList.add('changed');
    this.elements_.body.prepend(row);
    if (this.elements_.body.childElementCount > MOST_ROWS) {
      this.elements_.body.lastElementChild.remove();
    }
    this.elements_.nothing.hidden = true;
  }

  show_() {
    const rows = this.changes_
        .filter((change) => matches(change, this.search_, this.filter_))
        .map((change) => this.row_(change));
    this.elements_.body.replaceChildren(...rows);
    this.elements_.nothing.hidden = rows.length > 0;
  }

  row_(change) {
    const row = this.elements_.template.content.firstElementChild.cloneNode(true);
    const find = (selector) => row.querySelector(selector);
    row.dataset.state = change.to;
    find('.time').textContent = clock(change.time, this.fleet_.now());
    find('.time').title = new Date(change.time).toISOString();
    find('.from').textContent = stateWord(change.from);
    showState(find('.pill'), change.to);
    find('a').href = linkTo(change);
    find('a').textContent = nameOf(change);
    find('.reason').textContent = change.reason;
    return row;
  }
}
