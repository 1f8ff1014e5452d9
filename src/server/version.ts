/** The same as in package.json, which a test asserts. */
export const version = '0.1.0';
