/** @file Messages to clients, through the API that manages their connections. */

import {
  ApiGatewayManagementApiClient, GoneException, PostToConnectionCommand,
} from '@aws-sdk/client-apigatewaymanagementapi';
import type {CircuitBreakerService} from 'breakerd-client';

import {clientSettings} from './aws.js';
import type {CircuitLog} from './circuit_log.js';
import {UnavailableError} from './errors.js';
import {POST_TO_CONNECTION} from './policies.js';
import type {Settings} from './settings.js';

/** A client that went away says nothing about the API. */
const isFailure = (error: unknown) => !(error instanceof GoneException);

export class MessageService {
  private readonly api: ApiGatewayManagementApiClient;

  constructor(settings: Settings, private readonly breakers: CircuitBreakerService,
              private readonly circuitLog: CircuitLog) {
    this.api = new ApiGatewayManagementApiClient(clientSettings(settings.management));
  }

  async post(connectionId: string, message: unknown): Promise<void> {
    const command = new PostToConnectionCommand(
        {ConnectionId: connectionId, Data: Buffer.from(JSON.stringify(message))});
    await this.breakers.execute(
        'apigateway-management', 'postToConnection', async () => {
          await this.api.send(command);
        }, (refusal) => {
          this.circuitLog.refused(refusal);
          throw new UnavailableError('Delivery temporarily unavailable');
        }, {...POST_TO_CONNECTION, isFailure});
  }
}
