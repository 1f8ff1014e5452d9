/** The first eight octets of a connection: whether the peer speaks AMQP, and in a version that we speak. */
import { protocolHeader } from './frames.ts';

export type HeaderOutcome =
  | { readonly kind: 'incomplete' }
  /** rest: what follows the header in the chunk that was given. */
  | { readonly kind: 'accepted'; readonly rest: Buffer }
  | { readonly kind: 'refused'; readonly reason: string };

export class ProtocolHeaderReader {
  /** First octets of the stream, until there are eight. */
  #octets = Buffer.alloc(0);

  /** Takes the header off the stream. Keeps nothing of the chunk, whose memory is valid during the call only. */
  take(chunk: Buffer): HeaderOutcome {
    const bytes = this.#octets.length === 0 ? chunk : Buffer.concat([this.#octets, chunk]);
    const known = Math.min(bytes.length, 4);
    const isOther = bytes.compare(protocolHeader, 0, known, 0, known) !== 0;
    if (!isOther && bytes.length < protocolHeader.length) {
      this.#octets = Buffer.from(bytes);
      return { kind: 'incomplete' };
    }
    const version = bytes.subarray(4, 8).join('.');
    // 1.1.0.9 is how 0-9 announces itself; it is close enough.
    if (isOther || (version !== '0.0.9.1' && version !== '1.1.0.9')) {
      return { kind: 'refused', reason: refusalReason(bytes, isOther) };
    }
    this.#octets = Buffer.alloc(0);
    return { kind: 'accepted', rest: bytes.subarray(8) };
  }
}

const refusalReason = (bytes: Buffer, isOther: boolean): string => {
  if (bytes.toString('latin1', 0, 4) === 'GET ') return 'HTTP request on an AMQP port';
  if (bytes[0] === 0x16 && bytes[1] === 0x03) return 'TLS client on an AMQP port without TLS';
  return isOther ? 'client did not start with an AMQP protocol header' : 'unsupported AMQP version';
};
