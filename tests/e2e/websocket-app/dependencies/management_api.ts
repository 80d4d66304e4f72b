/**
 * @file The API that manages connections, as far as PostToConnection: management_api.js PORT. It
 * passes a message on to the worker that holds the connection; the connection's id begins with the
 * worker's port.
 */

import {Agent, createServer, request as post} from 'node:http';
import type {AddressInfo} from 'node:net';

// Kept connections would be closed by workers when idle, maybe just as a message goes out.
const agent = new Agent({keepAlive: false});

const server = createServer((request, response) => {
  const [, id, port] = /^\/@connections\/((\d+)-[\w-]+)$/.exec(request.url ?? '') ?? [];
  if (request.method !== 'POST' || id === undefined) {
    response.writeHead(400, {'x-amzn-errortype': 'BadRequestException'}).end('{}');
    return;
  }
  const gone = () => response.writeHead(410, {'x-amzn-errortype': 'GoneException'}).end('{}');
  const delivery = post(
      {host: '127.0.0.1', port, path: `/connections/${id}`, method: 'POST', agent}, (answer) => {
        answer.resume();
        if (answer.statusCode === 200) response.writeHead(200).end();
        else gone();
      });
  delivery.on('error', gone);
  request.pipe(delivery);
});
server.keepAliveTimeout = 0;  // No connection ends without a reason that the tests know.
server.listen(Number(process.argv[2]), '127.0.0.1', () => {
  console.log(`listening port=${(server.address() as AddressInfo).port}`);
});
