/**
 * @fileoverview The board: joins what the daemon tells (feed.js, fleet.js) with what is on the page
 * (table.js, detail.js, history.js, operate.js). What a person has chosen stands in the address:
 * #view=history&filter=OPEN&q=SEARCH&service=S&operation=O.
 */

import {Detail} from './detail.js';
import {Feed} from './feed.js';
import {Fleet} from './fleet.js';
import {History} from './history.js';
import {Operate} from './operate.js';
import {BreakerTable, say} from './table.js';
import {count, duration, keyOf, several} from './words.js';

/** Rows change places by their rates only when nobody has been at them for so long. */
const CALM_MS = 5000;
const TICK_MS = 250;
/** While someone types, the daemon is asked only at a pause. */
const TYPING_MS = 250;

const byId = (id) => document.getElementById(id);

const fleet = new Fleet();
const table = new BreakerTable(byId('rows'), byId('row-template'), fleet);
const detail = new Detail(byId('detail'), fleet, (breaker) => operate.show(breaker, fleet.admin));
const history = new History({
  body: byId('changes'),
  template: byId('change-template'),
  nothing: byId('no-changes'),
  error: byId('history-error'),
}, fleet);
const operate = new Operate((row) => changed([fleet.put(row)], true));
const feed = new Feed({
  search: () => (fleet.partial ? chosen.search : ''),
  loaded, news, status,
});

/** What the address says. */
let chosen = {view: '', filter: '', search: '', name: null};
let loadedOnce = false;
let status_ = 'connecting';
let lastNews = Date.now();
let lastUse = 0;

// --- What the person chose -------------------------------------------------

function readAddress() {
  const address = new URLSearchParams(location.hash.slice(1));
  const service = address.get('service');
  const operation = address.get('operation');
  return {
    view: address.get('view') ?? '',
    filter: address.get('filter') ?? '',
    search: address.get('q') ?? '',
    name: service === null || operation === null ? null : {service, operation},
  };
}

function addressOf({view, filter, search, name}) {
  const address = new URLSearchParams();
  if (view !== '') address.set('view', view);
  if (filter !== '') address.set('filter', filter);
  if (search !== '') address.set('q', search);
  if (name !== null) {
    address.set('service', name.service);
    address.set('operation', name.operation);
  }
  return `#${address}`;
}

/** Changes the choice and the address with it; the browser's "back" knows of it if asked to. */
function choose(changes, {back = false} = {}) {
  const address = addressOf({...chosen, ...changes});
  if (back) {
    window.history.pushState(null, '', address);
  } else {
    window.history.replaceState(null, '', address);
  }
  followAddress();
}

function followAddress() {
  const before = chosen;
  chosen = readAddress();
  if (byId('search').value !== chosen.search) byId('search').value = chosen.search;
  showView();
  arrange();
  if (fleet.partial && chosen.search !== before.search) loadSoon();
  if (chosen.view === 'history' && JSON.stringify(before) !== JSON.stringify(chosen)) {
    history.load(chosen.search, chosen.filter);
  }
  showDetail();
}

function showView() {
  const inHistory = chosen.view === 'history';
  byId('breakers').hidden = inHistory;
  byId('history').hidden = !inHistory;
  for (const [id, here] of [['to-breakers', !inHistory], ['to-history', inHistory]]) {
    if (here) byId(id).setAttribute('aria-current', 'page');
    else byId(id).removeAttribute('aria-current');
  }
  for (const button of byId('filters').children) {
    button.setAttribute('aria-pressed', button.dataset.filter === chosen.filter);
  }
}

function showDetail() {
  if (chosen.name === null) {
    detail.hide();
  } else {
    detail.show(chosen.name);
  }
  document.body.classList.toggle('with-detail', detail.open);
  operate.show(detail.breaker, fleet.admin);
  table.select(chosen.name === null ? null : keyOf(chosen.name));
}

let typing = 0;
function loadSoon() {
  clearTimeout(typing);
  typing = setTimeout(() => feed.load().catch(() => {}), TYPING_MS);
}

// --- What the daemon tells --------------------------------------------------

function loaded(answer) {
  const wereOpen = new Set(openKeys());
  fleet.load(answer);
  lastNews = Date.now();
  byId('empty').hidden = fleet.total > 0;
  table.refresh(fleet.rows.keys());
  if (loadedOnce) {
    const opened = openKeys().filter((key) => !wereOpen.has(key));
    opened.forEach((key) => announce(fleet.rows.get(key)));
  }
  loadedOnce = true;
  arrange();
  showSummary();
  showDetail();
  detail.reload();
  if (chosen.view === 'history') history.load(chosen.search, chosen.filter);
}

function openKeys() {
  return [...fleet.rows.values()].filter(({state}) => state === 'OPEN').map(({key}) => key);
}

function news(kind, data) {
  lastNews = Date.now();
  if (kind === 'rows') {
    const before = new Map(data.breakers.map((row) => [keyOf(row), placeOf(row)]));
    const keys = fleet.applyRows(data);
    changed(keys, keys.some((key) => before.get(key) !== placeOf(fleet.rows.get(key))));
  } else if (kind === 'transition') {
    transition(data);
  } else if (kind === 'interval') {
    fleet.applyInterval(data);
    table.drawCharts();
    if (Date.now() - lastUse > CALM_MS) {
      fleet.settle();
      needArrange();
    }
  } else if (kind === 'removed') {
    changed([fleet.applyRemoved(data)], true);
  }
}

/** What puts a row into another place at once, whoever points at it. */
function placeOf(row) {
  const known = fleet.rows.get(keyOf(row));
  return known === undefined ? 'new' : `${known.state} ${known.override !== null}`;
}

function transition(data) {
  const key = fleet.applyTransition(data);
  changed([key], true);
  table.flash(key);
  const {row, ...change} = data;
  if (chosen.view === 'history') history.add(change);
  if (data.to === 'OPEN' && data.from !== 'OPEN') announce({...row, last_transition: change});
}

// Several pieces of news within a frame are shown at once.
const pending = {keys: new Set(), arrange: false, summary: false, frame: 0};

function changed(keys, places) {
  keys.forEach((key) => pending.keys.add(key));
  pending.summary = true;
  if (places) pending.arrange = true;
  // A page in the background has no frames, but a title that is seen.
  showTitle();
  showSoon();
}

function needArrange() {
  pending.arrange = true;
  showSoon();
}

function showSoon() {
  if (pending.frame !== 0) return;
  pending.frame = requestAnimationFrame(() => {
    pending.frame = 0;
    const keys = [...pending.keys];
    pending.keys.clear();
    table.refresh(keys);
    if (pending.arrange) arrange();
    pending.arrange = false;
    showSummary();
    detail.changed(keys);
  });
}

function arrange() {
  table.arrange(chosen.search, chosen.filter);
  byId('nothing').hidden = !loadedOnce || fleet.total === 0 || table.size > 0;
  byId('empty').hidden = !loadedOnce || fleet.total > 0;
  const hiddenRows = fleet.matched - fleet.rows.size;
  byId('partial').hidden = !fleet.partial || hiddenRows <= 0;
  say(byId('partial'), `The worst ${count(fleet.rows.size)} of ${count(fleet.matched)}; ` +
      'search to see others.');
}

function showTitle() {
  const {OPEN: open} = fleet.counts;
  document.title = open > 0 ? `(${open} open) breakerd` : 'breakerd';
}

function showSummary() {
  const {counts, overridden} = fleet;
  const numbers = {'': fleet.total, ...counts, FORCED: overridden};
  for (const button of byId('filters').children) {
    const {filter} = button.dataset;
    say(button.querySelector('b'), count(numbers[filter]));
    button.classList.toggle('zero', numbers[filter] === 0);
    if (filter === 'FORCED') button.hidden = overridden === 0 && chosen.filter !== 'FORCED';
  }
  showTitle();
  byId('store-failing').hidden = !fleet.storeFailing;
  say(byId('version'), fleet.version);
  const span = duration(60 * fleet.chartSeconds * 1000).replace(' 0s', '');
  say(byId('chart-span'), `last ${span}`);
  say(byId('detail-span'), `last ${span}`);
}

// --- Connection -------------------------------------------------------------

const STATUS_WORDS = {
  connecting: 'connecting', live: 'live', polling: 'every 2s', reconnecting: 'reconnecting',
  away: 'daemon away',
};

function status(now) {
  status_ = now;
  const element = byId('connection');
  element.dataset.status = now;
  element.title = now === 'polling' ? 'The daemon has no free stream: asked every two seconds' : '';
  say(element, STATUS_WORDS[now]);
  showAway();
}

function showAway() {
  const away = status_ === 'away';
  byId('away').hidden = !away;
  document.body.classList.toggle('stale', away);
  if (!away) return;
  say(byId('away'), loadedOnce ?
      `The daemon does not answer. What you see is ${duration(Date.now() - lastNews)} old.` :
      'The daemon does not answer.');
}

// Circuits that open together are told in one sentence.
let opened = [];
function announce(row) {
  opened.push(row);
  if (opened.length > 1) return;
  setTimeout(() => {
    const [{service, operation, last_transition: why}] = opened;
    byId('announcement').textContent = opened.length === 1 ?
        `${service}/${operation} is open: ${why?.reason ?? ''}` :
        `${several(opened.length, 'circuit')} opened`;
    opened = [];
  }, 300);
}

// --- Pointer and keyboard ---------------------------------------------------

function plainClick(event) {
  return event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey;
}

function openRow(event) {
  const row = event.target.closest('tr');
  // A click that ends a selection of text is none.
  if (row === null || !plainClick(event) || !getSelection().isCollapsed) return;
  event.preventDefault();
  const address = new URLSearchParams(row.querySelector('a').hash.slice(1));
  const name = {service: address.get('service'), operation: address.get('operation')};
  choose({name}, {back: chosen.name === null});
  // The panel covers the list of a phone.
  if (matchMedia('(max-width: 720px)').matches) {
    byId('detail-name').focus();
  } else if (chosen.view === '') {
    table.focus(keyOf(name));
  }
}

function closeDetail() {
  const key = chosen.name === null ? null : keyOf(chosen.name);
  choose({name: null});
  if (key !== null) table.focus(key);
}

function escape() {
  if (operate.asking) return operate.cancel();
  if (document.activeElement === byId('search')) {
    choose({search: ''});
    return byId('search').blur();
  }
  if (chosen.name !== null) closeDetail();
}

function move(steps) {
  if (chosen.view === 'history') return;
  table.move(steps);
  if (chosen.name === null || table.current === null) return;
  const {service, operation} = fleet.rows.get(table.current);
  choose({name: {service, operation}});
}

const KEYS = {
  '/': () => byId('search').select(),
  '?': () => byId('help').showModal(),
  'j': () => move(1),
  'k': () => move(-1),
  'ArrowDown': () => move(1),
  'ArrowUp': () => move(-1),
  'Home': () => move(-Infinity),
  'End': () => move(Infinity),
  'o': () => choose({filter: chosen.filter === 'OPEN' ? '' : 'OPEN'}),
  'b': () => choose({view: ''}, {back: true}),
  'h': () => choose({view: 'history'}, {back: true}),
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId('help').open) return;
  if (event.key === 'Escape') return escape();
  const {target} = event;
  if (target === byId('search') && ['ArrowDown', 'Enter'].includes(event.key)) {
    event.preventDefault();
    return move(1);
  }
  // Arrows scroll where the focus is in the panel.
  if (target.matches('input') || (event.key.length > 1 && byId('detail').contains(target))) return;
  const action = KEYS[event.key];
  if (action === undefined) return;
  event.preventDefault();
  action();
}

function listen() {
  window.addEventListener('hashchange', followAddress);
  window.addEventListener('popstate', followAddress);
  document.addEventListener('keydown', pressed);
  byId('rows').addEventListener('click', openRow);
  byId('changes').addEventListener('click', openRow);
  byId('search').addEventListener('input', () => choose({search: byId('search').value}));
  byId('close-detail').addEventListener('click', closeDetail);
  byId('show-help').addEventListener('click', () => byId('help').showModal());
  byId('show-all').addEventListener('click', () => choose({search: '', filter: ''}));
  byId('filters').addEventListener('click', (event) => {
    const filter = event.target.closest('button')?.dataset.filter;
    if (filter !== undefined) choose({filter});
  });
  for (const [id, view] of [['to-breakers', ''], ['to-history', 'history']]) {
    byId(id).addEventListener('click', (event) => {
      if (!plainClick(event)) return;
      event.preventDefault();
      choose({view}, {back: true});
    });
  }
  for (const use of ['pointermove', 'wheel', 'touchmove', 'keydown']) {
    byId('breakers').addEventListener(use, () => lastUse = Date.now(), {passive: true});
  }
}

listen();
followAddress();
feed.start();
setInterval(() => {
  if (document.hidden) return;
  table.tick();
  detail.tick();
  showAway();
}, TICK_MS);
