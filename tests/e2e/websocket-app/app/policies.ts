/**
 * @file What each dependency is given before its circuit opens; times in milliseconds. These are
 * the application's own wishes, in effect where the operator has set nothing. They are the same as
 * in deploy/policies/websocket-app.yaml.
 */

/** Nobody gets in while tokens cannot be verified: few failures, and a long time to recover. */
export const VERIFY_JWT = {
  failureThreshold: 3,
  recoveryTimeout: 30_000,
  expectedResponseTime: 2000,
  monitoringWindow: 60_000,
  minimumRequestCount: 5,
};

/** Single connections fail all the time, for clients go away. */
export const POST_TO_CONNECTION = {
  failureThreshold: 5,
  recoveryTimeout: 15_000,
  expectedResponseTime: 1000,
  monitoringWindow: 30_000,
  minimumRequestCount: 3,
};

/** Each of the four writes. */
export const DYNAMODB = {
  failureThreshold: 3,
  recoveryTimeout: 20_000,
  expectedResponseTime: 500,
  monitoringWindow: 60_000,
  minimumRequestCount: 5,
};
