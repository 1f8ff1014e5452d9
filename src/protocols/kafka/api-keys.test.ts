/** The table of apis agrees with the codecs, and headers have the version that Kafka expects. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Reader } from '../../wire/cursor.ts';
import { Writer } from '../../wire/writer.ts';
import { ApiKey, findApi, KNOWN_APIS, requestHeaderVersion, responseHeaderVersion } from './api-keys.ts';
import { codecs } from './generated/codecs.ts';
import { encodeRequestHeader } from './generated/headers.ts';
import { readRequestHeader } from './schema/request-header.ts';

it('knows exactly the apis that have codecs, with the same versions', () => {
  const fromCodecs = Object.entries(codecs).map(([name, codec]) => {
    const { key, versionMin, versionMax, flexibleFrom } = codec;
    return { name, key, versionMin, versionMax, flexibleFrom };
  });
  assert.deepEqual(
    KNOWN_APIS.map(({ advertised: _, ...rest }) => rest),
    fromCodecs,
  );
  assert.equal(findApi(ApiKey.DescribeCluster)?.name, 'DescribeCluster');
  for (const key of [-1, 4, 61, 1000]) assert.equal(findApi(key), undefined);
});

it('answers ApiVersions with header 0 whatever the version', () => {
  const apiVersions = findApi(ApiKey.ApiVersions)!;
  for (const version of [0, 2, 3, 4, 99]) assert.equal(responseHeaderVersion(apiVersions, version), 0);
  assert.equal(requestHeaderVersion(apiVersions, 99), 2);
  const fetch = findApi(ApiKey.Fetch)!;
  assert.deepEqual([responseHeaderVersion(fetch, 11), responseHeaderVersion(fetch, 12)], [0, 1]);
  assert.deepEqual([requestHeaderVersion(fetch, 11), requestHeaderVersion(fetch, 12)], [1, 2]);
});

it('reads the header in the version that its first fields imply', () => {
  const cases = [
    [ApiKey.Fetch, 11, 1],
    [ApiKey.Fetch, 12, 2],
    [ApiKey.ApiVersions, 200, 2],
    [ApiKey.SaslHandshake, 1, 1],
    [4711, 3, 1],
  ] as const;
  for (const [requestApiKey, requestApiVersion, headerVersion] of cases) {
    for (const clientId of ['client', null]) {
      const header = { requestApiKey, requestApiVersion, correlationId: 77, clientId };
      const writer = new Writer();
      encodeRequestHeader(writer, headerVersion, header);
      writer.int8(42);
      const reader = new Reader(Buffer.concat(writer.finish()));
      assert.deepEqual(readRequestHeader(reader), header);
      assert.equal(reader.int8(), 42);
    }
  }
});
