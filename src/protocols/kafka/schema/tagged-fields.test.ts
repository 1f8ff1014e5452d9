/** Tagged fields: unknown ones are skipped, defaults are not written, sizes that lie are refused. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { MalformedError, Reader } from '../../../wire/cursor.ts';
import { type Payload, WRITER_REFERENCE_BYTES_MIN, Writer } from '../../../wire/writer.ts';
import { decodeApiVersionsResponse, encodeApiVersionsResponse } from '../generated/api-versions.ts';
import {
  decodeFetchRequest,
  decodeFetchResponse,
  encodeFetchRequest,
  encodeFetchResponse,
} from '../generated/fetch.ts';
import { decodeHeartbeatRequest } from '../generated/heartbeat.ts';
import { decodeListGroupsRequest } from '../generated/list-groups.ts';

const HEARTBEAT = '0267' + '00000001' + '026d' + '00';

it('skips unknown tagged fields', () => {
  const body = decodeHeartbeatRequest(new Reader(Buffer.from(`${HEARTBEAT}02${'0002aabb'}${'ff0100'}`, 'hex')), 4);
  assert.deepEqual(body, { groupId: 'g', generationId: 1, memberId: 'm', groupInstanceId: null });
});

it('refuses a tagged field that is longer than what is left', () => {
  assert.throws(
    () => decodeHeartbeatRequest(new Reader(Buffer.from(`${HEARTBEAT}010003aabb`, 'hex')), 4),
    MalformedError,
  );
});

it('refuses a known tagged field whose content has another size', () => {
  const writer = new Writer();
  encodeApiVersionsResponse(writer, 3, { errorCode: 0, apiKeys: [], finalizedFeaturesEpoch: 7 });
  const bytes = Buffer.concat(writer.finish());
  assert.equal(decodeApiVersionsResponse(new Reader(bytes), 3).finalizedFeaturesEpoch, 7);
  const lying = Buffer.concat([bytes, Buffer.alloc(1)]);
  lying[lying.indexOf(Buffer.from('0108', 'hex')) + 1] = 9;
  assert.throws(() => decodeApiVersionsResponse(new Reader(lying), 3), MalformedError);
});

it('writes tagged fields of more than 127 bytes', () => {
  const writer = new Writer();
  const supportedFeatures = Array.from({ length: 40 }, (_, index) => ({
    name: `feature-${index}`,
    minVersion: 0,
    maxVersion: index,
  }));
  encodeApiVersionsResponse(writer, 4, { errorCode: 0, apiKeys: [], supportedFeatures });
  const decoded = decodeApiVersionsResponse(new Reader(Buffer.concat(writer.finish())), 4);
  assert.deepEqual(decoded.supportedFeatures, supportedFeatures);
});

it('fills in what a caller leaves out', () => {
  const writer = new Writer();
  encodeFetchRequest(writer, 18, { maxWaitMs: 1, minBytes: 2, topics: [], forgottenTopicsData: [] });
  const body = decodeFetchRequest(new Reader(Buffer.concat(writer.finish())), 18);
  assert.deepEqual(body, {
    clusterId: null,
    replicaId: -1,
    replicaState: null,
    maxWaitMs: 1,
    minBytes: 2,
    maxBytes: 0x7fffffff,
    isolationLevel: 0,
    sessionId: 0,
    sessionEpoch: -1,
    topics: [],
    forgottenTopicsData: [],
    rackId: '',
  });
});

it('refuses an array that cannot fit before it allocates', () => {
  assert.throws(() => decodeListGroupsRequest(new Reader(Buffer.from('ffffffff0f', 'hex')), 4), MalformedError);
});

it('passes large records of a Fetch response by reference, in parts', () => {
  const parts = [Buffer.alloc(WRITER_REFERENCE_BYTES_MIN, 1), Buffer.from('small'), Buffer.alloc(10_000, 2)];
  const response = (records: Payload | null) => ({
    errorCode: 0,
    responses: [
      {
        topic: 't',
        topicId: 'AAAAAAAAAAAAAAAAAAAAAQ',
        partitions: [{ partitionIndex: 0, errorCode: 0, highWatermark: 9, abortedTransactions: null, records }],
      },
    ],
  });
  for (const version of [4, 11, 12, 18]) {
    const writer = new Writer();
    encodeFetchResponse(writer, version, response(parts));
    const size = writer.position;
    const pieces = writer.finish();
    assert.ok(pieces.includes(parts[0]!) && pieces.includes(parts[2]!), 'not copied');
    const bytes = Buffer.concat(pieces);
    assert.equal(bytes.length, size);
    const decoded = decodeFetchResponse(new Reader(bytes), version);
    assert.deepEqual(decoded.responses[0]?.partitions[0]?.records, Buffer.concat(parts));
  }
});
