/** What RabbitMQ calls the types of a field table, for texts of errors. */
import type { HeaderValue } from './message.ts';

/** Of a number only its value is left: it is called as most clients send it. */
export const fieldTypeName = (value: HeaderValue): string => {
  if (value === null) return 'void';
  switch (typeof value) {
    case 'boolean':
      return 'bool';
    case 'string':
      return 'longstr';
    case 'bigint':
      return 'long';
    case 'number':
      if (!Number.isInteger(value)) return 'double';
      return value === (value | 0) ? 'signedint' : 'long';
    default:
      if (Buffer.isBuffer(value)) return 'binary';
      if (value instanceof Date) return 'timestamp';
      return Array.isArray(value) ? 'array' : 'table';
  }
};
