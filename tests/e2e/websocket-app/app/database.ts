/** @file The database, and what its errors mean. */

import {DynamoDBClient, DynamoDBServiceException} from '@aws-sdk/client-dynamodb';
import {DynamoDBDocumentClient} from '@aws-sdk/lib-dynamodb';

import {clientSettings} from './aws.js';

export const MESSAGES_TABLE = 'Messages';
export const CONNECTIONS_TABLE = 'Connections';

export const UNAVAILABLE = 'Database temporarily unavailable';

export function databaseAt(endpoint: string): DynamoDBDocumentClient {
  return DynamoDBDocumentClient.from(new DynamoDBClient(clientSettings(endpoint)));
}

/** What the database found wrong with a request says nothing about its health. */
export function isFailure(error: unknown): boolean {
  return !(error instanceof DynamoDBServiceException && error.name === 'ValidationException');
}
