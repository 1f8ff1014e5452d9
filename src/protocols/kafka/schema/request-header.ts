/** The header of a request in the version that its own first two fields imply. */
import type { Reader } from '../../../wire/cursor.ts';
import { findApi, requestHeaderVersion } from '../api-keys.ts';
import { decodeRequestHeader, type RequestHeader } from '../generated/headers.ts';

/**
 * Leaves the reader at the body. For a key that this broker does not know the header is read as version 1: its correlation
 * id is right, its body cannot be read.
 */
export const readRequestHeader = (reader: Reader): RequestHeader => {
  const support = findApi(reader.peekInt16(0));
  const headerVersion = support === undefined ? 1 : requestHeaderVersion(support, reader.peekInt16(2));
  return decodeRequestHeader(reader, headerVersion);
};
