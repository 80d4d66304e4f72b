/** @file What the clients of AWS services have in common. */

import {Agent} from 'node:http';

import {NodeHttpHandler} from '@smithy/node-http-handler';

const CONNECTION_TIMEOUT_MS = 2000;
const REQUEST_TIMEOUT_MS = 5000;

/**
 * Everything is said here, so that nothing is looked up in the machine's settings or in the
 * network. The breakers decide what is tried again and when: the SDK tries once.
 */
export function clientSettings(endpoint: string) {
  return {
    endpoint,
    region: 'us-east-1',
    credentials: {accessKeyId: 'local', secretAccessKey: 'local'},
    maxAttempts: 1,
    requestHandler: new NodeHttpHandler({
      httpAgent: new Agent({keepAlive: true, maxSockets: 20}),
      connectionTimeout: CONNECTION_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      throwOnRequestTimeout: true,
    }),
  };
}
