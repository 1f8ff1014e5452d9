/**
 * The apis that this broker knows. Those that are advertised are the answer to ApiVersions; the others have a codec, so that
 * who calls them all the same gets a proper error instead of a closed connection.
 *
 * Produce is advertised from 0 although only 3 and later work, and JoinGroup from 0: librdkafka and others switch features
 * off, or refuse to talk, if the lower end is missing.
 */

export const ApiKey = {
  Produce: 0,
  Fetch: 1,
  ListOffsets: 2,
  Metadata: 3,
  OffsetCommit: 8,
  OffsetFetch: 9,
  FindCoordinator: 10,
  JoinGroup: 11,
  Heartbeat: 12,
  LeaveGroup: 13,
  SyncGroup: 14,
  DescribeGroups: 15,
  ListGroups: 16,
  SaslHandshake: 17,
  ApiVersions: 18,
  CreateTopics: 19,
  DeleteTopics: 20,
  DeleteRecords: 21,
  InitProducerId: 22,
  OffsetForLeaderEpoch: 23,
  AddPartitionsToTxn: 24,
  AddOffsetsToTxn: 25,
  EndTxn: 26,
  TxnOffsetCommit: 28,
  DescribeConfigs: 32,
  AlterConfigs: 33,
  DeleteGroups: 42,
  IncrementalAlterConfigs: 44,
  DescribeCluster: 60,
} as const;

export type ApiName = keyof typeof ApiKey;
export type ApiKey = (typeof ApiKey)[ApiName];

export interface ApiSupport {
  readonly name: ApiName;
  readonly key: ApiKey;
  readonly versionMin: number;
  readonly versionMax: number;
  /** First version with compact lengths and tagged fields; null if there is none. */
  readonly flexibleFrom: number | null;
  readonly advertised: boolean;
}

const api = (name: ApiName, versionMin: number, versionMax: number, flexibleFrom: number | null): ApiSupport => ({
  name,
  key: ApiKey[name],
  versionMin,
  versionMax,
  flexibleFrom,
  advertised: true,
});

const hidden = (name: ApiName, versionMin: number, versionMax: number, flexibleFrom: number | null): ApiSupport => ({
  ...api(name, versionMin, versionMax, flexibleFrom),
  advertised: false,
});

/** In the order of the keys. */
export const KNOWN_APIS: readonly ApiSupport[] = [
  api('Produce', 0, 13, 9),
  api('Fetch', 4, 18, 12),
  api('ListOffsets', 1, 11, 6),
  api('Metadata', 0, 13, 9),
  api('OffsetCommit', 2, 10, 8),
  api('OffsetFetch', 1, 10, 6),
  api('FindCoordinator', 0, 6, 3),
  api('JoinGroup', 0, 9, 6),
  api('Heartbeat', 0, 4, 4),
  api('LeaveGroup', 0, 5, 4),
  api('SyncGroup', 0, 5, 4),
  api('DescribeGroups', 0, 6, 5),
  api('ListGroups', 0, 5, 3),
  hidden('SaslHandshake', 0, 1, null),
  api('ApiVersions', 0, 4, 3),
  api('CreateTopics', 2, 7, 5),
  api('DeleteTopics', 1, 6, 4),
  api('DeleteRecords', 0, 2, 2),
  api('InitProducerId', 0, 5, 2),
  api('OffsetForLeaderEpoch', 2, 4, 4),
  hidden('AddPartitionsToTxn', 0, 5, 3),
  hidden('AddOffsetsToTxn', 0, 4, 3),
  hidden('EndTxn', 0, 5, 3),
  hidden('TxnOffsetCommit', 0, 5, 3),
  api('DescribeConfigs', 1, 4, 4),
  api('AlterConfigs', 0, 2, 2),
  api('DeleteGroups', 0, 2, 2),
  api('IncrementalAlterConfigs', 0, 1, 1),
  api('DescribeCluster', 0, 2, 0),
];

export const ADVERTISED_APIS: readonly ApiSupport[] = KNOWN_APIS.filter((known) => known.advertised);

/** Indexed by key. */
const byKey: readonly (ApiSupport | undefined)[] = Array.from({ length: 61 }, (_, key) =>
  KNOWN_APIS.find((known) => known.key === key),
);

export const findApi = (key: number): ApiSupport | undefined => byKey[key];

export const isSupported = (support: ApiSupport, version: number): boolean =>
  version >= support.versionMin && version <= support.versionMax;

/** 2 (with tagged fields) for flexible versions, else 1. Also right for versions newer than those supported. */
export const requestHeaderVersion = (support: ApiSupport, version: number): 1 | 2 =>
  support.flexibleFrom !== null && version >= support.flexibleFrom ? 2 : 1;

/** A client that asks for ApiVersions does not know yet what the broker speaks: its answer always has header 0. */
export const responseHeaderVersion = (support: ApiSupport, version: number): 0 | 1 =>
  support.key !== ApiKey.ApiVersions && requestHeaderVersion(support, version) === 2 ? 1 : 0;
