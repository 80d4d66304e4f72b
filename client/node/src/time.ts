/** Milliseconds since the process began, with fractions, on a clock that never goes back. */
export const now: () => number = performance.now.bind(performance);
