/** @file What was said, kept in the database. */

import {PutCommand, type DynamoDBDocumentClient} from '@aws-sdk/lib-dynamodb';
import type {CircuitBreakerService} from 'breakerd-client';

import type {CircuitLog} from './circuit_log.js';
import {MESSAGES_TABLE, UNAVAILABLE, isFailure} from './database.js';
import {UnavailableError} from './errors.js';
import {DYNAMODB} from './policies.js';

export interface Message {
  readonly connectionId: string;
  /** Unique within its connection. */
  readonly id: string;
  readonly text: string;
}

export class ChatService {
  constructor(private readonly database: DynamoDBDocumentClient,
              private readonly breakers: CircuitBreakerService,
              private readonly circuitLog: CircuitLog) {}

  async storeUserMessage(message: Message): Promise<void> {
    await this.breakers.execute(
        'dynamodb', 'storeUserMessage', () => this.put(message, 'user'),
        (refusal) => this.unavailable(refusal), {...DYNAMODB, isFailure});
  }

  async storeBotMessage(message: Message): Promise<void> {
    await this.breakers.execute(
        'dynamodb', 'storeBotMessage', () => this.put(message, 'bot'),
        (refusal) => this.unavailable(refusal), {...DYNAMODB, isFailure});
  }

  private async put({connectionId, id, text}: Message, author: 'user' | 'bot'): Promise<void> {
    const item = {connectionId, messageId: `${id}/${author}`, text, time: new Date().toISOString()};
    await this.database.send(new PutCommand({TableName: MESSAGES_TABLE, Item: item}));
  }

  private unavailable(refusal: unknown): never {
    this.circuitLog.refused(refusal);
    throw new UnavailableError(UNAVAILABLE);
  }
}
