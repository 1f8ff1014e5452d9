/**
 * What clients are told that they may do: everything that there is to do, as Kafka says without an authorizer. Bit n is the operation
 * with number n of Kafka's AclOperation; which ones apply to what: AclEntry.supportedOperations.
 */
const operation = {
  read: 3,
  write: 4,
  create: 5,
  delete: 6,
  alter: 7,
  describe: 8,
  clusterAction: 9,
  describeConfigs: 10,
  alterConfigs: 11,
  idempotentWrite: 12,
} as const;

const bits = (...names: readonly (keyof typeof operation)[]): number =>
  names.reduce((sum, name) => sum | (1 << operation[name]), 0);

export const groupOperations = bits('read', 'delete', 'describe', 'describeConfigs', 'alterConfigs');
export const topicOperations = bits(
  'read',
  'write',
  'create',
  'delete',
  'alter',
  'describe',
  'describeConfigs',
  'alterConfigs',
);
export const clusterOperations = bits(
  'create',
  'alter',
  'describe',
  'clusterAction',
  'describeConfigs',
  'alterConfigs',
  'idempotentWrite',
);

/** The client did not ask. */
export const operationsNotAsked = -2_147_483_648;
