/** The same as in package.json, which a test asserts. */
export const version = '0.1.0';

/** The oldest version of Node.js that it runs on; likewise. */
export const nodeVersionMin = '20.19';
