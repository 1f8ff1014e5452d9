/** Null where this version of the protocol has no null: a mistake of the caller, not of the peer. */
export const required = <T>(value: T | null, field: string, version: number): T => {
  if (value === null) throw new TypeError(`${field} must not be null in version ${version}`);
  return value;
};
