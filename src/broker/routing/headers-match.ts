/** The headers exchange: which bindings match a message's headers. Source: RabbitMQ, rabbit_exchange_type_headers. */
import type { HeaderValue } from '../message.ts';

export type ArgumentTable = ReadonlyMap<string, HeaderValue>;

export const headerMatchModes = ['all', 'any', 'all-with-x', 'any-with-x'] as const;
type HeaderMatchMode = (typeof headerMatchModes)[number];

export const isHeaderMatchMode = (value: HeaderValue | undefined): value is HeaderMatchMode =>
  headerMatchModes.includes(value as HeaderMatchMode);

/** Numbers are equal across their types, everything else by value. */
export const sameHeaderValue = (left: HeaderValue | undefined, right: HeaderValue | undefined): boolean => {
  if (left === undefined || right === undefined) return left === right;
  if (typeof left === 'bigint' || typeof right === 'bigint')
    return String(left) === String(right) && isNumeric(left) && isNumeric(right);
  if (Buffer.isBuffer(left) || Buffer.isBuffer(right))
    return asBytes(left)?.equals(asBytes(right) ?? Buffer.alloc(0)) ?? false;
  if (left instanceof Date && right instanceof Date) return left.getTime() === right.getTime();
  if (typeof left === 'object' && typeof right === 'object') return JSON.stringify(left) === JSON.stringify(right);
  return left === right;
};

const isNumeric = (value: HeaderValue): boolean => typeof value === 'number' || typeof value === 'bigint';

const asBytes = (value: HeaderValue): Buffer | undefined => {
  if (Buffer.isBuffer(value)) return value;
  return typeof value === 'string' ? Buffer.from(value) : undefined;
};

/** A binding argument without a value (void) matches any value of that header. Of no argument at all, all match and none does. */
export const headersMatch = (bindingArguments: ArgumentTable, headers: ArgumentTable): boolean => {
  const given = bindingArguments.get('x-match');
  const mode = isHeaderMatchMode(given) ? given : 'all';
  const includesX = mode === 'all-with-x' || mode === 'any-with-x';
  for (const [name, wanted] of bindingArguments) {
    if (name === 'x-match' || (!includesX && name.startsWith('x-'))) continue;
    const matches = headers.has(name) && (wanted === null || sameHeaderValue(wanted, headers.get(name)));
    if (matches && mode.startsWith('any')) return true;
    if (!matches && mode.startsWith('all')) return false;
  }
  return mode.startsWith('all');
};
