/** @file A DynamoDB in memory, with the application's tables: dynamodb.js PORT. */

import type {AddressInfo} from 'node:net';

import {CreateTableCommand, DynamoDBClient} from '@aws-sdk/client-dynamodb';
import dynalite from 'dynalite';

import {clientSettings} from '../app/aws.js';
import {CONNECTIONS_TABLE, MESSAGES_TABLE} from '../app/database.js';

const server = dynalite({createTableMs: 0});
server.keepAliveTimeout = 0;  // No connection ends without a reason that the tests know.

server.listen(Number(process.argv[2]), '127.0.0.1', async () => {
  const {port} = server.address() as AddressInfo;
  const client = new DynamoDBClient(clientSettings(`http://127.0.0.1:${port}`));
  const keys = {
    [MESSAGES_TABLE]: ['connectionId', 'messageId'],
    [CONNECTIONS_TABLE]: ['connectionId'],
  };
  for (const [table, names] of Object.entries(keys)) {
    await client.send(new CreateTableCommand({
      TableName: table,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: names.map((name) => ({AttributeName: name, AttributeType: 'S'})),
      KeySchema: names.map(
          (name, i) => ({AttributeName: name, KeyType: i === 0 ? 'HASH' : 'RANGE'})),
    }));
  }
  client.destroy();
  console.log(`listening port=${port}`);
});
