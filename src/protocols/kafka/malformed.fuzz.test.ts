import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { KNOWN_APIS } from './api-keys.ts';
import { encodeRequest, InProcessKafka, makeBatch } from './in-process-kafka.ts';

let kafka: InProcessKafka;
before(async () => {
  kafka = await InProcessKafka.start({ settings: { 'socket.request.max.bytes': 100_000 } });
});
after(() => kafka[Symbol.asyncDispose]());

const apiVersions = { clientSoftwareName: 'fuzz', clientSoftwareVersion: '1' };

/** The broker serves others whatever this one sends. */
const sendAndCheck = async (bytes: Buffer): Promise<void> => {
  const client = await kafka.client();
  client.socket.on('data', () => {});
  client.socket.removeAllListeners('data');
  client.socket.resume();
  client.socket.write(bytes);
  client.socket.end();
  await client.untilClosed();
};

const alive = async (): Promise<void> => {
  const client = await kafka.client();
  const { errorCode } = await client.call('ApiVersions', 3, apiVersions);
  assert.equal(errorCode, 0);
  client.close();
  assert.deepEqual(kafka.errors, []);
};

test('random bytes close at most their own connection', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 400 }), (bytes) => sendAndCheck(Buffer.from(bytes))),
    { numRuns: 200 },
  );
  await alive();
});

test('a request with a right frame and header and a random body closes at most its own connection', async () => {
  const apis = KNOWN_APIS.flatMap((api) =>
    Array.from({ length: api.versionMax - api.versionMin + 1 }, (_, index) => ({
      key: api.key,
      version: api.versionMin + index,
    })),
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...apis), fc.uint8Array({ maxLength: 120 }), async ({ key, version }, body) => {
      const header = Buffer.alloc(14);
      header.writeInt32BE(10 + body.length, 0);
      header.writeInt16BE(key, 4);
      header.writeInt16BE(version, 6);
      header.writeInt32BE(1, 8);
      header.writeInt16BE(0, 12);
      await sendAndCheck(Buffer.concat([header, body]));
    }),
    { numRuns: 600 },
  );
  await alive();
});

test('a mutated Produce closes at most its own connection', async () => {
  kafka.broker.createTopic({ vhost: '/', name: 'fuzz', partitions: 1, config: new Map() });
  const request = encodeRequest('Produce', 11, 1, {
    acks: -1,
    timeoutMs: 1000,
    topicData: [
      {
        name: 'fuzz',
        topicId: 'AAAAAAAAAAAAAAAAAAAAAA',
        partitionData: [{ index: 0, records: makeBatch({ values: ['a', 'b'] }) }],
      },
    ],
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.integer({ min: 4, max: request.length - 1 }), fc.integer({ min: 0, max: 255 })), {
        minLength: 1,
        maxLength: 6,
      }),
      async (mutations) => {
        const mutated = Buffer.from(request);
        for (const [index, value] of mutations) mutated[index] = value;
        await sendAndCheck(mutated);
      },
    ),
    { numRuns: 400 },
  );
  await alive();
});

test('oversized and undersized frames, unknown apis and versions close the connection', async () => {
  const frame = (lengthBytes: number, key: number, version: number): Buffer => {
    const bytes = Buffer.alloc(14);
    bytes.writeInt32BE(lengthBytes, 0);
    bytes.writeInt16BE(key, 4);
    bytes.writeInt16BE(version, 6);
    return bytes;
  };
  for (const bytes of [
    frame(100_001, 3, 0),
    frame(-1, 3, 0),
    frame(2, 3, 0),
    frame(10, 999, 0),
    frame(10, 3, 99),
    frame(10, 3, -1),
  ]) {
    const client = await kafka.client();
    client.socket.write(bytes);
    await client.untilClosed();
  }
  await alive();
});

test('an unknown version of ApiVersions is answered in version 0 with error 35 and all apis', async () => {
  const client = await kafka.client();
  const bytes = encodeRequest('ApiVersions', 4, 77, apiVersions);
  bytes.writeInt16BE(50, 6);
  client.socket.write(bytes);
  const response = await client.response(77);
  assert.equal(response.readInt16BE(4), 35);
  assert.ok(response.readInt32BE(6) > 15);
  assert.equal((await client.call('ApiVersions', 4, apiVersions)).errorCode, 0);
});
