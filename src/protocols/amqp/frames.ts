/**
 * Frames: type (1), channel (2), payload size (4), payload, end octet. All numbers big endian.
 */
export const frameType = { method: 1, header: 2, body: 3, heartbeat: 8 } as const;
export const frameEnd = 0xce;
/** Before the payload. */
export const frameHeaderBytes = 7;
/** Around the payload. */
export const frameOverheadBytes = 8;
/** class 60, method 40, as one number. */
export const publishCode = 0x003c0028;
export const deliverCode = 0x003c003c;
export const ackCode = 0x003c0050;
export const basicClass = 60;

export const heartbeatFrame = Buffer.from([frameType.heartbeat, 0, 0, 0, 0, 0, 0, frameEnd]);
export const protocolHeader = Buffer.from([0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1]);
