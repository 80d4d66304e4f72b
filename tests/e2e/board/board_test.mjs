/**
 * @fileoverview The board in a real browser, on a real daemon.
 *
 *     BREAKERD_PATH=... BREAKERCTL_PATH=... BOARD_ARTIFACTS=folder node --test board_test.mjs
 *
 * Screenshots go to BOARD_ARTIFACTS. CHROMIUM_PATH names another browser than /usr/bin/chromium.
 */

import assert from 'node:assert/strict';
import {once} from 'node:events';
import {mkdir} from 'node:fs/promises';
import {get} from 'node:http';
import {join} from 'node:path';
import {after, before, test} from 'node:test';
import {chromium} from 'playwright-core';

import {Daemon, inParallel} from './daemon.mjs';

const TOKEN = 'correct horse battery staple';
const TRIPS_AT_TWO = 'failure_threshold=2,minimum_request_count=2,recovery_timeout=5m';
const RECOVERS_AT_ONCE = 'failure_threshold=1,minimum_request_count=1,recovery_timeout=1s';
const PHONE = {width: 360, height: 740};
const ARTIFACTS = process.env.BOARD_ARTIFACTS ?? 'artifacts';

let browser;
let daemon;

before(async () => {
  await mkdir(ARTIFACTS, {recursive: true});
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM_PATH ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  daemon = await Daemon.start();
});

after(async () => {
  await browser?.close();
  await daemon?.stop();
});

/**
 * Gives `check` a page of its own that shows the board, and fails on any error that the page
 * complains of, except those that match `expected`.
 */
async function onBoard({of = daemon, hash = '', expected = null, ...options}, check) {
  const context = await browser.newContext({viewport: {width: 1440, height: 900}, ...options});
  const errors = [];
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    page.on('pageerror', (error) => errors.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') errors.push(message.text());
    });
    await page.goto(of.url + hash);
    await page.locator('#connection[data-status=live]').waitFor();
    await check(page);
  } finally {
    await context.close();
  }
  assert.deepEqual(errors.filter((error) => expected === null || !expected.test(error)), []);
}

function rowOf(page, name) {
  return page.locator('#rows tr', {has: page.getByTitle(name, {exact: true})});
}

function inState(page, name, state) {
  return rowOf(page, name).and(page.locator(`[data-state=${state}]`));
}

async function screenshot(page, name) {
  await page.screenshot({path: join(ARTIFACTS, `${name}.png`), animations: 'disabled'});
}

function textOf(page, selector) {
  return page.locator(selector).textContent();
}

function waitForText(page, selector, pattern) {
  return page.locator(selector).filter({hasText: pattern}).waitFor();
}

async function trip(name, policy = TRIPS_AT_TWO, of = daemon) {
  await of.call(name, {fails: true, worker: 'ws-1', policy});
  await of.call(name, {fails: true, worker: 'ws-2', policy});
}

/** Seconds of a countdown such as '4m 10s'. */
function seconds(text) {
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/(\d+)([ms])/g)) sum += number * {m: 60, s: 1}[unit];
  return sum;
}

async function scrollsSideways(page) {
  return page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
}

test('an empty board tells how to make a first call', async () => {
  await onBoard({}, async (page) => {
    await waitForText(page, '#empty', 'breakerctl exec');
    await screenshot(page, 'empty');
    await daemon.call('demo/first');
    await inState(page, 'demo/first', 'CLOSED').waitFor();
    await page.locator('#empty').waitFor({state: 'hidden'});
  });
});

test('a circuit that opens is there within a second, without reload', async () => {
  await onBoard({}, async (page) => {
    await daemon.call('live/trip', {fails: true, worker: 'ws-1', policy: TRIPS_AT_TWO});
    await inState(page, 'live/trip', 'CLOSED').waitFor();
    await page.evaluate(() => {
      window.loadedOnce = true;
      window.openSeen = new Promise((resolve) => {
        const look = () => {
          const row = document.querySelector('[title="live/trip"]').closest('tr');
          if (row.querySelector('.pill').textContent.includes('OPEN')) resolve(Date.now());
        };
        new MutationObserver(look).observe(
            document.getElementById('rows'), {subtree: true, childList: true, characterData: true});
      });
    });
    await daemon.call('live/trip', {fails: true, worker: 'ws-2', policy: TRIPS_AT_TWO});
    const returned = Date.now();
    const passed = await page.evaluate(() => window.openSeen) - returned;
    assert.ok(passed < 1000, `shown ${passed} ms after the call that opened it had returned`);
    assert.equal(await page.evaluate(() => window.loadedOnce), true);
    await waitForText(page, '#announcement', 'live/trip is open: 2 consecutive failures');
    await waitForText(page, '#filters [data-filter=OPEN]', 'Open 1');
    assert.equal(await page.title(), '(1 open) breakerd');
    assert.equal(await rowOf(page, 'live/trip').getAttribute('data-state'), 'OPEN');
    assert.match(await rowOf(page, 'live/trip').locator('.reason').textContent(),
        /2 consecutive failures \(threshold 2\).*2 workers failing/);
    assert.match(await rowOf(page, 'live/trip').locator('.more').textContent(),
        /last failure exit 1/);
    const numbers = await rowOf(page, 'live/trip').locator('.number').allTextContents();
    assert.deepEqual(numbers, ['2', '2', '0', '0']);
  });
});

test('the time to the next attempt counts down', async () => {
  await trip('live/countdown');
  await onBoard({}, async (page) => {
    const cell = await rowOf(page, 'live/countdown').locator('.next').elementHandle();
    const first = await cell.textContent();
    assert.ok(seconds(first) > 60 && seconds(first) <= 300, first);
    await page.waitForFunction(([cell, first]) => cell.textContent !== first, [cell, first]);
    const then = await cell.textContent();
    assert.ok(seconds(then) < seconds(first) && seconds(then) > seconds(first) - 5,
        `${first}, then ${then}`);
  });
});

test('a circuit that recovers is seen half-open and closed', async () => {
  await onBoard({}, async (page) => {
    await daemon.call('live/recovers', {fails: true, policy: RECOVERS_AT_ONCE});
    await inState(page, 'live/recovers', 'HALF_OPEN').waitFor();
    await daemon.call('live/recovers', {policy: RECOVERS_AT_ONCE});
    await inState(page, 'live/recovers', 'CLOSED').waitFor();
    assert.equal(await rowOf(page, 'live/recovers').locator('.pill').textContent(), 'CLOSED');
  });
});

test('a circuit whose probe fails still tells what opened it', async () => {
  await onBoard({}, async (page) => {
    await daemon.call('live/relapses', {fails: true, policy: RECOVERS_AT_ONCE});
    await inState(page, 'live/relapses', 'HALF_OPEN').waitFor();
    await daemon.call('live/relapses', {fails: true, policy: RECOVERS_AT_ONCE});
    const row = rowOf(page, 'live/relapses');
    await row.filter({hasText: /a probe failed|1s of OPEN are over/}).waitFor();
    assert.match(await row.locator('.reason').textContent(), /^1 consecutive failure/);
  });
});

test('details tell why, who failed, the policy and the changes of state', async () => {
  await trip('detail/why');
  await onBoard({}, async (page) => {
    await rowOf(page, 'detail/why').click();
    await waitForText(page, '#reason', /2 consecutive failures/);
    await waitForText(page, '#workers', 'ws-1');
    await waitForText(page, '#workers', 'ws-2');
    await waitForText(page, '#last', /exit 1/);
    await waitForText(page, '#attempt', /Next attempt in 4m/);
    await waitForText(page, '#policy', /recovery_timeout\s*5m/);
    await waitForText(page, '#policy-source', 'brought by a worker');
    await waitForText(page, '#lifetime', /times opened\s*1/);
    await waitForText(page, '#transitions', 'CLOSED → OPEN');
    assert.match(page.url(), /service=detail&operation=why/);
    assert.equal(await page.locator('#operate').isVisible(), false);
    await screenshot(page, 'detail');
    await daemon.ctl('open', 'detail/why', '--ttl', '10m', '--reason', 'held', '--actor', 'ana');
    await waitForText(page, '#override', /ana/);
    await waitForText(page, '#override', /held/);
    await waitForText(page, '#override', /in (10m 0s|9m \d+s)/);
    await page.locator('#close-detail').click();
    await page.locator('#detail').waitFor({state: 'hidden'});
  });
});

test('the failure rate is drawn', async () => {
  const policy = 'failure_threshold=0';
  await onBoard({}, async (page) => {
    await daemon.call('live/chart', {fails: true, policy});
    await daemon.call('live/chart', {policy});
    await rowOf(page, 'live/chart').locator('.percent', {hasText: '50%'}).waitFor();
    const drawn = rowOf(page, 'live/chart').locator('path.failed[d^=M]');
    let calls = 0;
    while (await drawn.count() === 0) {
      assert.ok(++calls < 1000, 'nothing is drawn');
      await daemon.call('live/chart', {fails: true, policy});
    }
  });
});

test('search narrows the list and stands in the address', async () => {
  await daemon.call('needle/one');
  await daemon.call('haystack/two');
  await onBoard({}, async (page) => {
    await inState(page, 'haystack/two', 'CLOSED').waitFor();
    await page.locator('#search').fill('NEEDLE');
    await rowOf(page, 'haystack/two').waitFor({state: 'detached'});
    assert.equal(await page.locator('#rows tr').count(), 1);
    assert.match(page.url(), /#q=NEEDLE$/);
    await page.reload();
    await inState(page, 'needle/one', 'CLOSED').waitFor();
    assert.equal(await page.locator('#rows tr').count(), 1);
    assert.equal(await page.locator('#search').inputValue(), 'NEEDLE');
    await page.locator('#search').fill('no such thing');
    await page.locator('#nothing').waitFor();
    await page.locator('#show-all').click();
    await inState(page, 'haystack/two', 'CLOSED').waitFor();
  });
});

test('a filter shows one state, with its count', async () => {
  await trip('filter/open');
  await onBoard({}, async (page) => {
    await inState(page, 'demo/first', 'CLOSED').waitFor();
    await page.locator('#filters [data-filter=OPEN]').click();
    await rowOf(page, 'demo/first').waitFor({state: 'detached'});
    await inState(page, 'filter/open', 'OPEN').waitFor();
    assert.match(page.url(), /#filter=OPEN$/);
    const open = await page.locator('#rows tr').count();
    await waitForText(page, '#filters [data-filter=OPEN] b', String(open));
  });
});

test('rows stand worst first', async () => {
  await onBoard({}, async (page) => {
    await inState(page, 'demo/first', 'CLOSED').waitFor();
    const states = await page.locator('#rows tr').evaluateAll(
        (rows) => rows.map((row) => row.dataset.state));
    const ranks = states.map((state) => ['OPEN', 'HALF_OPEN', 'CLOSED'].indexOf(state));
    assert.deepEqual(ranks, [...ranks].sort());
  });
});

test('the history has all changes, newest first, live and searched', async () => {
  await trip('history/first');
  await onBoard({hash: '#view=history'}, async (page) => {
    const changes = page.locator('#changes tr');
    await changes.filter({hasText: 'history/first'}).waitFor();
    await daemon.ctl('reset', 'history/first');
    await waitForText(page, '#changes tr:first-child', /OPEN\s*CLOSED\s+history\/first/);
    await screenshot(page, 'history');
    await page.locator('#search').fill('history/');
    await changes.filter({hasText: 'live/'}).first().waitFor({state: 'detached'});
    assert.equal(await changes.count(), 2);
    await changes.first().click();
    await waitForText(page, '#detail-name', 'history/first');
    assert.match(page.url(), /view=history/);
  });
});

test('the keyboard is enough', async () => {
  await trip('keys/one');
  await trip('keys/two');
  await onBoard({}, async (page) => {
    await inState(page, 'keys/two', 'OPEN').waitFor();
    const focused = () => page.evaluate(() => document.activeElement.title);
    await page.keyboard.press('/');
    await page.keyboard.type('keys');
    await page.waitForFunction(() => document.querySelectorAll('#rows tr').length === 2);
    await page.keyboard.press('ArrowDown');
    const first = await focused();
    await page.keyboard.press('j');
    const second = await focused();
    assert.deepEqual([first, second].sort(), ['keys/one', 'keys/two']);
    await page.keyboard.press('Enter');
    await waitForText(page, '#detail-name', second);
    await page.keyboard.press('k');
    await waitForText(page, '#detail-name', first);
    await waitForText(page, '#workers', 'ws-2');
    await page.keyboard.press('Escape');
    await page.locator('#detail').waitFor({state: 'hidden'});
    assert.equal(await focused(), first);
    await page.keyboard.press('?');
    await page.locator('#help[open]').waitFor();
    await screenshot(page, 'help');
    await page.keyboard.press('Escape');
    await page.locator('#help').waitFor({state: 'hidden'});
    await page.keyboard.press('h');
    await page.locator('#changes tr').first().waitFor();
    await page.keyboard.press('b');
    await page.keyboard.press('o');
    assert.match(page.url(), /filter=OPEN/);
    await page.keyboard.press('/');
    await page.keyboard.press('Escape');
    assert.doesNotMatch(page.url(), /q=/);
  });
});

test('the list is one stop of the tab key, and what has the focus shows it', async () => {
  await onBoard({}, async (page) => {
    await inState(page, 'demo/first', 'CLOSED').waitFor();
    assert.equal(await page.locator('#rows a[tabindex="0"]').count(), 1);
    await page.locator('#search').focus();
    await page.keyboard.press('Tab');
    const outline = await page.evaluate(
        () => getComputedStyle(document.activeElement.closest('#rows tr')).outlineStyle);
    assert.equal(outline, 'solid');
  });
});

test('a phone shows cards and never scrolls sideways', async () => {
  await daemon.call(`long/${'operation'.repeat(12)}`, {fails: true});
  await onBoard({viewport: PHONE, isMobile: true, hasTouch: true}, async (page) => {
    await inState(page, 'demo/first', 'CLOSED').waitFor();
    assert.equal(await scrollsSideways(page), false);
    await screenshot(page, 'phone');
    await rowOf(page, 'detail/why').tap();
    await waitForText(page, '#detail-name', 'detail/why');
    await waitForText(page, '#transitions', 'CLOSED → OPEN');
    assert.equal(await scrollsSideways(page), false);
    await screenshot(page, 'phone-detail');
    await page.locator('#close-detail').tap();
    await page.locator('#to-history').tap();
    await page.locator('#changes tr').first().waitFor();
    assert.equal(await scrollsSideways(page), false);
    await screenshot(page, 'phone-history');
  });
});

test('dark mode is followed', async () => {
  await onBoard({}, async (page) => {
    await inState(page, 'demo/first', 'CLOSED').waitFor();
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.emulateMedia({colorScheme: 'light'});
    const light = await background();
    await screenshot(page, 'light');
    await page.emulateMedia({colorScheme: 'dark'});
    assert.notEqual(await background(), light);
    await screenshot(page, 'dark');
  });
});

test('a name is text, whatever is written in it', async () => {
  const name = '<img src=x onerror="window.hacked=1">/<b>bold</b>';
  await trip(name);
  await onBoard({}, async (page) => {
    const row = page.locator('#rows tr', {hasText: name});
    await row.click();
    await waitForText(page, '#detail-name', name);
    await page.locator('#to-history').click();
    await page.locator('#changes tr', {hasText: name}).waitFor();
    assert.equal(await page.locator('img').count(), 0);
    assert.equal(await page.evaluate(() => window.hacked), undefined);
  });
});

test('with a token, operators force, clear and reset', async () => {
  const admin = await Daemon.start({token: TOKEN});
  try {
    await trip('ops/charge', TRIPS_AT_TWO, admin);
    await onBoard({of: admin, hash: '#service=ops&operation=charge', expected: /401/}, operate);
  } finally {
    await admin.stop();
  }
});

async function operate(page) {
  await page.locator('[data-action=force-open]').click();
  await page.locator('[name=reason]').fill('provider says so');
  await page.locator('[name=actor]').fill('ana');
  await page.locator('[name=ttl]').fill('15m');
  await page.locator('[name=token]').fill('wrong');
  await page.locator('#operate-go').click();
  await waitForText(page, '#operate-error', 'refuses this token');
  await screenshot(page, 'operate');
  await page.locator('[name=token]').fill(TOKEN);
  await page.locator('#operate-go').click();
  await waitForText(page, '#operate-done', 'Forced open');
  await waitForText(page, '#override', /ana/);
  await waitForText(page, '#override', /provider says so/);
  await waitForText(page, '#override', /in 1[45]m/);
  await waitForText(page, '#reason', /forced open by ana/);
  await rowOf(page, 'ops/charge').locator('.tags', {hasText: 'forced open'}).waitFor();
  await rowOf(page, 'ops/charge').locator('.next', {hasText: /ends in 1[45]m/}).waitFor();
  await screenshot(page, 'forced');

  // The token is known now.
  await page.locator('[data-action=clear]').click();
  assert.equal(await page.locator('#token-field').isVisible(), false);
  await page.locator('#operate-go').click();
  await inState(page, 'ops/charge', 'CLOSED').waitFor();
  await page.locator('#override').waitFor({state: 'hidden'});

  await page.locator('[data-action=force-closed]').click();
  assert.equal(await page.locator('[name=actor]').inputValue(), 'ana');
  await page.locator('[name=ttl]').fill('');
  await page.locator('#operate-go').click();
  await waitForText(page, '#override', /when it is cleared/);

  await page.locator('[data-action=reset]').click();
  await page.locator('#operate-go').click();
  await waitForText(page, '#operate-done', 'reset');
  await waitForText(page, '#transitions li:first-child', /CLOSED → CLOSED/);
}

test('a thousand breakers are readable, and change at once without a jam', async () => {
  const fleet = await Daemon.start();
  try {
    const names = Array.from({length: 1000}, (_, i) => `mass/operation-${i}`);
    await inParallel(names, 6, (name) => fleet.call(name));
    await trip('critical/path', TRIPS_AT_TWO, fleet);
    await onBoard({of: fleet}, (page) => showThousand(page, fleet));
  } finally {
    await fleet.stop();
  }
});

async function showThousand(page, fleet) {
  await page.evaluate(() => {
    window.longest = 0;
    new PerformanceObserver((list) => {
      for (const {duration} of list.getEntries()) {
        window.longest = Math.max(window.longest, duration);
      }
    }).observe({type: 'longtask', buffered: true});
  });
  await page.reload();
  const started = Date.now();
  await page.locator('#rows tr').first().waitFor();
  const shown = Date.now() - started;
  assert.ok(shown < 3000, `the first row after ${shown} ms`);
  await waitForText(page, '#filters', /All 1,001/);
  assert.equal(await page.locator('#rows tr').count(), 1001);
  assert.equal(await page.locator('#rows a').first().getAttribute('title'), 'critical/path');
  await screenshot(page, 'thousand');

  await page.evaluate(() => {
    window.longest = 0;
    new PerformanceObserver((list) => {
      for (const {duration} of list.getEntries()) {
        window.longest = Math.max(window.longest, duration);
      }
    }).observe({type: 'longtask'});
  });
  await fleet.ctl('open', 'mass/*', '--yes', '--ttl', '10m', '--reason', 'drill');
  await waitForText(page, '#filters [data-filter=OPEN]', '1,001');
  await page.waitForFunction(
      () => document.querySelectorAll('#rows tr[data-state=OPEN]').length === 1001);
  await fleet.ctl('auto', 'mass/*', '--yes');
  await page.waitForFunction(
      () => document.querySelectorAll('#rows tr[data-state=OPEN]').length === 1);
  const longest = await page.evaluate(() => window.longest);
  // Far more than it takes on a machine of its own; the tests share theirs.
  assert.ok(longest < 1000, `the page stood still for ${longest} ms`);
  await page.locator('#search').fill('operation-77');
  await page.waitForFunction(() => document.querySelectorAll('#rows tr').length === 11);
}

test('a daemon that was away is seen, and followed again when it is back', async () => {
  const mortal = await Daemon.start();
  try {
    await trip('mortal/soul', TRIPS_AT_TWO, mortal);
    await onBoard({of: mortal, expected: /net::ERR_/}, async (page) => {
      await inState(page, 'mortal/soul', 'OPEN').waitFor();
      await mortal.kill();
      await page.locator('#connection[data-status=away]').waitFor();
      await waitForText(page, '#away', 'The daemon does not answer. What you see is');
      await screenshot(page, 'away');
      await mortal.restart();
      await page.locator('#connection[data-status=live]').waitFor();
      await page.locator('#away').waitFor({state: 'hidden'});
      await inState(page, 'mortal/soul', 'OPEN').waitFor();
      await mortal.ctl('reset', 'mortal/soul');
      await inState(page, 'mortal/soul', 'CLOSED').waitFor();
    });
  } finally {
    await mortal.stop();
  }
});

test('without a free stream the board asks every two seconds', async () => {
  const busy = await Daemon.start();
  const streams = Array.from({length: 64},
      () => get(new URL('api/events', busy.url), {agent: false}));
  try {
    await Promise.all(streams.map((stream) => once(stream, 'response')));
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(busy.url);
    await page.locator('#connection[data-status=polling]').waitFor();
    await trip('busy/bee', TRIPS_AT_TWO, busy);
    await inState(page, 'busy/bee', 'OPEN').waitFor();
    streams.forEach((stream) => stream.destroy());
    await page.locator('#connection[data-status=live]').waitFor();
    await context.close();
  } finally {
    streams.forEach((stream) => stream.destroy());
    await busy.stop();
  }
});
