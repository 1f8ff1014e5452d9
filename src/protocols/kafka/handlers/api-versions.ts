/** ApiVersions: what this broker speaks. No features are named, so that clients use only what is listed. */
import type { Writer } from '../../../wire/writer.ts';
import { ADVERTISED_APIS } from '../api-keys.ts';
import { ErrorCode } from '../error-codes.ts';
import {
  type ApiVersionsRequest,
  type ApiVersionsResponseInput,
  encodeApiVersionsResponse,
} from '../generated/api-versions.ts';
import type { RequestContext } from '../request-context.ts';

const apiKeys = ADVERTISED_APIS.map(({ key, versionMin, versionMax }) => ({
  apiKey: key,
  minVersion: versionMin,
  maxVersion: versionMax,
}));

const legalSoftwareText = /^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$/;

export const handleApiVersions = (
  request: ApiVersionsRequest,
  { version }: RequestContext,
): ApiVersionsResponseInput => {
  const { clientSoftwareName, clientSoftwareVersion } = request;
  if (version >= 3 && !(legalSoftwareText.test(clientSoftwareName) && legalSoftwareText.test(clientSoftwareVersion))) {
    return { errorCode: ErrorCode.INVALID_REQUEST, apiKeys: [] };
  }
  return { errorCode: ErrorCode.NONE, apiKeys };
};

/** A newer client than this broker: it is answered in the oldest version and asks again with one that is listed. */
export const handleUnsupportedApiVersions = (writer: Writer): void =>
  encodeApiVersionsResponse(writer, 0, { errorCode: ErrorCode.UNSUPPORTED_VERSION, apiKeys });
