/** @fileoverview Charts of calls and failures, each of two SVG paths. */

/** Intervals that a chart shows; the server keeps as many. */
export const CHART_LENGTH = 60;

const HEIGHT = 20;
const BAR = 0.72;
// A single failure among thousands of calls is still to be seen.
const LEAST = 2;

function bar(index, height) {
  return `M${index} ${HEIGHT}v-${height.toFixed(2)}h${BAR}v${height.toFixed(2)}z`;
}

/**
 * Draws into `svg`, whose two paths are .traffic and .failed.
 *
 * @param {!SVGElement} svg
 * @param {!Array<!Array<number>>} chart [calls, failures] an interval, oldest first.
 * @param {boolean} byVolume Whether a bar is as high as its calls are many; otherwise each interval
 *     with calls is full height, and the red of it is its failure rate.
 */
export function draw(svg, chart, byVolume) {
  const shown = chart.slice(-CHART_LENGTH);
  const most = byVolume ? Math.max(1, ...shown.map(([calls]) => calls)) : 0;
  let traffic = '';
  let failed = '';
  shown.forEach(([calls, failures], i) => {
    if (calls === 0) return;
    const index = CHART_LENGTH - shown.length + i;
    const scale = HEIGHT / (byVolume ? most : calls);
    traffic += bar(index, Math.max(LEAST, calls * scale));
    if (failures > 0) failed += bar(index, Math.max(LEAST, failures * scale));
  });
  const [trafficPath, failedPath] = svg.children;
  trafficPath.setAttribute('d', traffic);
  failedPath.setAttribute('d', failed);
}
