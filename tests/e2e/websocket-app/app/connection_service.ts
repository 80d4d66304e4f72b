/** @file Who is connected, kept in the database for all workers. */

import {DeleteCommand, PutCommand, type DynamoDBDocumentClient} from '@aws-sdk/lib-dynamodb';
import type {CircuitBreakerService} from 'breakerd-client';

import type {CircuitLog} from './circuit_log.js';
import {CONNECTIONS_TABLE, UNAVAILABLE, isFailure} from './database.js';
import {UnavailableError} from './errors.js';
import {DYNAMODB} from './policies.js';

const LONGEST_CONNECTION_S = 2 * 3600;

export class ConnectionService {
  constructor(private readonly database: DynamoDBDocumentClient,
              private readonly breakers: CircuitBreakerService,
              private readonly circuitLog: CircuitLog) {}

  async storeConnection(connectionId: string, user: string): Promise<void> {
    const expires = Math.floor(Date.now() / 1000) + LONGEST_CONNECTION_S;
    await this.breakers.execute(
        'dynamodb', 'storeConnection', async () => {
          await this.database.send(new PutCommand(
              {TableName: CONNECTIONS_TABLE, Item: {connectionId, user, expires}}));
        }, (refusal) => {
          this.circuitLog.refused(refusal);
          throw new UnavailableError(UNAVAILABLE);
        }, {...DYNAMODB, isFailure});
  }

  /** Resolves with whether it is gone; if not, it expires by itself. */
  async removeConnection(connectionId: string): Promise<boolean> {
    return this.breakers.execute(
        'dynamodb', 'removeConnection', async () => {
          await this.database.send(new DeleteCommand(
              {TableName: CONNECTIONS_TABLE, Key: {connectionId}}));
          return true;
        }, (refusal) => {
          this.circuitLog.refused(refusal);
          return false;
        }, {...DYNAMODB, isFailure});
  }
}
