/** The first four bytes of a request, its length: whether it can be one, and who else begins like that. */

/** int16 key, int16 version, int32 correlation id. */
export const smallestRequestBytes = 8;

/** The length without what it counts; undefined if a request may have it, else why not. */
export const lengthProblem = (requestBytes: number, requestBytesMax: number): string | undefined => {
  if (requestBytes >= smallestRequestBytes && requestBytes <= requestBytesMax) return undefined;
  const start = Buffer.alloc(4);
  start.writeInt32BE(requestBytes);
  const text = start.toString('latin1');
  if (text === 'GET ' || text === 'POST' || text === 'HEAD' || text === 'PUT ') return 'HTTP request on a Kafka port';
  if (text === 'AMQP') return 'AMQP client on a Kafka port';
  if (start[0] === 0x16 && start[1] === 0x03) return 'TLS client on a Kafka port without TLS';
  if (requestBytes > requestBytesMax) return `request of ${requestBytes} bytes, at most ${requestBytesMax} are allowed`;
  return `length of a request is ${requestBytes}, at least ${smallestRequestBytes} are needed`;
};
