/**
 * Which code answers which request. Produce and Fetch are not here: they have ways of their own through the connection.
 * A handler answers by value, or later through a callback.
 */
import type { Reader } from '../../wire/cursor.ts';
import type { Writer } from '../../wire/writer.ts';
import type { ApiName } from './api-keys.ts';
import { codecs } from './generated/codecs.ts';
import { handleAlterConfigs, handleIncrementalAlterConfigs } from './handlers/alter-configs.ts';
import { handleApiVersions } from './handlers/api-versions.ts';
import { handleCreateTopics } from './handlers/create-topics.ts';
import { handleDeleteGroups } from './handlers/delete-groups.ts';
import { handleDeleteRecords } from './handlers/delete-records.ts';
import { handleDeleteTopics } from './handlers/delete-topics.ts';
import { handleDescribeCluster } from './handlers/describe-cluster.ts';
import { handleDescribeConfigs } from './handlers/describe-configs.ts';
import { handleDescribeGroups } from './handlers/describe-groups.ts';
import { handleFindCoordinator } from './handlers/find-coordinator.ts';
import { handleHeartbeat } from './handlers/heartbeat.ts';
import { handleInitProducerId } from './handlers/init-producer-id.ts';
import { handleJoinGroup } from './handlers/join-group.ts';
import { handleLeaveGroup } from './handlers/leave-group.ts';
import { handleListGroups } from './handlers/list-groups.ts';
import { handleListOffsets } from './handlers/list-offsets.ts';
import { handleMetadata } from './handlers/metadata.ts';
import { handleOffsetCommit } from './handlers/offset-commit.ts';
import { handleOffsetFetch } from './handlers/offset-fetch.ts';
import { handleOffsetForLeaderEpoch } from './handlers/offset-for-leader-epoch.ts';
import { handleSaslHandshake } from './handlers/sasl-handshake.ts';
import { handleSyncGroup } from './handlers/sync-group.ts';
import {
  handleAddOffsetsToTxn,
  handleAddPartitionsToTxn,
  handleEndTxn,
  handleTxnOffsetCommit,
} from './handlers/transactions.ts';
import type { RequestContext } from './request-context.ts';

/** Writes the body of the response. */
type Encode = (writer: Writer) => void;

export type ApiHandler = (reader: Reader, context: RequestContext, reply: (encode: Encode) => void) => void;

interface Codec<Request, Response> {
  decodeRequest(reader: Reader, version: number): Request;
  encodeResponse(writer: Writer, version: number, response: Response): void;
}

/** Answers at once. */
const now =
  <Request, Response>(
    codec: Codec<Request, Response>,
    handle: (request: Request, context: RequestContext) => Response,
  ): ApiHandler =>
  (reader, context, reply) => {
    const response = handle(codec.decodeRequest(reader, context.version), context);
    reply((writer) => codec.encodeResponse(writer, context.version, response));
  };

/** Answers when it is known. */
const later =
  <Request, Response>(
    codec: Codec<Request, Response>,
    handle: (request: Request, context: RequestContext, respond: (response: Response) => void) => void,
  ): ApiHandler =>
  (reader, context, reply) => {
    handle(codec.decodeRequest(reader, context.version), context, (response) =>
      reply((writer) => codec.encodeResponse(writer, context.version, response)),
    );
  };

const elsewhere: ApiHandler = () => {
  throw new Error('handled by the connection itself');
};

export const apiHandlers: Readonly<Record<ApiName, ApiHandler>> = {
  Produce: elsewhere,
  Fetch: elsewhere,
  ListOffsets: later(codecs.ListOffsets, handleListOffsets),
  Metadata: now(codecs.Metadata, handleMetadata),
  OffsetCommit: now(codecs.OffsetCommit, handleOffsetCommit),
  OffsetFetch: now(codecs.OffsetFetch, handleOffsetFetch),
  FindCoordinator: now(codecs.FindCoordinator, handleFindCoordinator),
  JoinGroup: later(codecs.JoinGroup, handleJoinGroup),
  Heartbeat: now(codecs.Heartbeat, handleHeartbeat),
  LeaveGroup: now(codecs.LeaveGroup, handleLeaveGroup),
  SyncGroup: later(codecs.SyncGroup, handleSyncGroup),
  DescribeGroups: now(codecs.DescribeGroups, handleDescribeGroups),
  ListGroups: now(codecs.ListGroups, handleListGroups),
  SaslHandshake: now(codecs.SaslHandshake, handleSaslHandshake),
  ApiVersions: now(codecs.ApiVersions, handleApiVersions),
  CreateTopics: later(codecs.CreateTopics, handleCreateTopics),
  DeleteTopics: now(codecs.DeleteTopics, handleDeleteTopics),
  DeleteRecords: now(codecs.DeleteRecords, handleDeleteRecords),
  InitProducerId: now(codecs.InitProducerId, handleInitProducerId),
  OffsetForLeaderEpoch: now(codecs.OffsetForLeaderEpoch, handleOffsetForLeaderEpoch),
  AddPartitionsToTxn: now(codecs.AddPartitionsToTxn, handleAddPartitionsToTxn),
  AddOffsetsToTxn: now(codecs.AddOffsetsToTxn, handleAddOffsetsToTxn),
  EndTxn: now(codecs.EndTxn, handleEndTxn),
  TxnOffsetCommit: now(codecs.TxnOffsetCommit, handleTxnOffsetCommit),
  DescribeConfigs: now(codecs.DescribeConfigs, handleDescribeConfigs),
  AlterConfigs: now(codecs.AlterConfigs, handleAlterConfigs),
  DeleteGroups: now(codecs.DeleteGroups, handleDeleteGroups),
  IncrementalAlterConfigs: now(codecs.IncrementalAlterConfigs, handleIncrementalAlterConfigs),
  DescribeCluster: now(codecs.DescribeCluster, handleDescribeCluster),
};
