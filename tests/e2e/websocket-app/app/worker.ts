/** @file One worker process of the application. Ends at SIGTERM. */

import {CircuitBreakerService} from 'breakerd-client';

import {AuthenticationService} from './authentication_service.js';
import {ChatServer} from './chat_server.js';
import {ChatService} from './chat_service.js';
import {CircuitLog} from './circuit_log.js';
import {ConnectionService} from './connection_service.js';
import {databaseAt} from './database.js';
import {Log} from './log.js';
import {MessageService} from './message_service.js';
import {settingsFrom} from './settings.js';

/**
 * Longer than this process is ever too busy to read an answer: a worker that takes the daemon for
 * away decides by itself, and may send a probe of its own.
 */
const RPC_TIMEOUT_MS = 2000;

const settings = settingsFrom(process.env);
const log = new Log(settings.workerId);
const breakers = new CircuitBreakerService({
  target: settings.breakerd,
  workerId: settings.workerId,
  rpcTimeout: RPC_TIMEOUT_MS,
});
const circuitLog = new CircuitLog(breakers, log);
const database = databaseAt(settings.dynamodb);

const server = new ChatServer({
  authentication: new AuthenticationService(settings, breakers, circuitLog),
  chat: new ChatService(database, breakers, circuitLog),
  connections: new ConnectionService(database, breakers, circuitLog),
  messages: new MessageService(settings, breakers, circuitLog),
}, log);

process.once('SIGTERM', async () => {
  await server.close();
  await breakers.close();
  log.info('stopped');  // Nothing is left that keeps the process alive.
});

log.info('listening', {port: await server.listen()});
