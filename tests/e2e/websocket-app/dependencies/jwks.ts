/** @file Publishes the keys that tokens are signed with: jwks.js PORT FILE. */

import {readFileSync} from 'node:fs';
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';

const [port, file] = process.argv.slice(2);

const server = createServer((request, response) => {
  request.resume();
  response.writeHead(200, {'content-type': 'application/json'}).end(readFileSync(file!));
});
server.keepAliveTimeout = 0;  // No connection ends without a reason that the tests know.
server.listen(Number(port), '127.0.0.1', () => {
  console.log(`listening port=${(server.address() as AddressInfo).port}`);
});
