/** The transaction requests, none of which is advertised: who calls one all the same is told in a way that ends its retries. */
import { ErrorCode } from '../error-codes.ts';
import type { AddOffsetsToTxnRequest, AddOffsetsToTxnResponseInput } from '../generated/add-offsets-to-txn.ts';
import type { AddPartitionsToTxnRequest, AddPartitionsToTxnResponseInput } from '../generated/add-partitions-to-txn.ts';
import type { EndTxnRequest, EndTxnResponseInput } from '../generated/end-txn.ts';
import type { TxnOffsetCommitRequest, TxnOffsetCommitResponseInput } from '../generated/txn-offset-commit.ts';

const errorCode = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED;

const refuseTopics = (topics: AddPartitionsToTxnRequest['v3AndBelowTopics']) =>
  topics.map(({ name, partitions }) => ({
    name,
    resultsByPartition: partitions.map((partitionIndex) => ({ partitionIndex, partitionErrorCode: errorCode })),
  }));

export const handleAddPartitionsToTxn = (request: AddPartitionsToTxnRequest): AddPartitionsToTxnResponseInput => ({
  errorCode: ErrorCode.NONE,
  resultsByTransaction: request.transactions.map(({ transactionalId, topics }) => ({
    transactionalId,
    topicResults: refuseTopics(topics),
  })),
  resultsByTopicV3AndBelow: refuseTopics(request.v3AndBelowTopics),
});

export const handleAddOffsetsToTxn = (_request: AddOffsetsToTxnRequest): AddOffsetsToTxnResponseInput => ({
  errorCode,
});

export const handleEndTxn = (_request: EndTxnRequest): EndTxnResponseInput => ({ errorCode });

export const handleTxnOffsetCommit = (request: TxnOffsetCommitRequest): TxnOffsetCommitResponseInput => ({
  topics: request.topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map(({ partitionIndex }) => ({ partitionIndex, errorCode })),
  })),
});
