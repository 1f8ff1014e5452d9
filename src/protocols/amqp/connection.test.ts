/** Handshake, framing and closing rules, checked octet by octet. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heartbeatFrame, protocolHeader } from './frames.ts';
import type { Method } from './generated/methods.ts';
import { headerFrame, methodFrame, opening, publishFrame, rawFrame, startOk, TestPeer } from './test-peer.ts';
import { startTestServer, type TestServer } from './test-server.ts';

const connect = (server: TestServer): TestPeer => {
  const peer = new TestPeer();
  server.head.accept(peer.socket);
  return peer;
};

const openPeer = async (server: TestServer): Promise<TestPeer> => {
  const peer = connect(server);
  peer.send(opening());
  await peer.expect('connection.open-ok');
  return peer;
};

const channelOpen: Method = { method: 'channel.open', outOfBand: '' };

test('protocol headers: 0-9-1 and 0-9 are taken, also octet by octet; all others are answered with ours', async () => {
  await using server = await startTestServer();
  for (const header of [protocolHeader, Buffer.from([0x41, 0x4d, 0x51, 0x50, 1, 1, 0, 9])]) {
    const peer = connect(server);
    for (const octet of header) peer.send(Buffer.from([octet]));
    const start = await peer.expect('connection.start');
    assert.equal(start.mechanisms, 'PLAIN AMQPLAIN');
    assert.equal(start.serverProperties.get('product'), 'RabbitMQ');
    assert.equal(start.serverProperties.get('version'), '4.3.6');
    assert.match(String(start.serverProperties.get('platform')), /RosettaMQ/);
    peer.destroy();
  }
  for (const other of [
    'GET / HTTP/1.1\r\n',
    'AMQP\x03\x01\x00\x00',
    'AMQP\x00\x00\x08\x00',
    '\x16\x03\x01\x00\x05\x01',
    'x',
  ]) {
    const peer = connect(server);
    peer.send(Buffer.from(other, 'latin1'));
    await peer.until(() => peer.destroyed);
    assert.deepEqual(peer.prologue, protocolHeader);
    assert.equal(server.lines.at(-1)!.message, 'refused AMQP connection');
  }
});

test('AMQPLAIN logs in; a wrong password gets 403 where the client understands it', async () => {
  await using server = await startTestServer();
  const peer = connect(server);
  const field = (name: string, value: string): Buffer =>
    Buffer.concat([
      Buffer.from([name.length]),
      Buffer.from(`${name}S`),
      Buffer.from([0, 0, 0, value.length]),
      Buffer.from(value),
    ]);
  const response = Buffer.concat([field('LOGIN', 'guest'), field('PASSWORD', 'guest')]);
  peer.send(protocolHeader);
  peer.method(0, {
    method: 'connection.start-ok',
    clientProperties: new Map(),
    mechanism: 'AMQPLAIN',
    response,
    locale: 'en_US',
  });
  assert.deepEqual(await peer.expect('connection.tune'), {
    method: 'connection.tune',
    channelMax: 2047,
    frameMax: 131_072,
    heartbeat: 60,
  });

  const wrong = connect(server);
  wrong.send(protocolHeader);
  wrong.method(0, startOk('wrong'));
  const { replyCode, replyText } = await wrong.expect('connection.close');
  assert.equal(replyCode, 403);
  assert.equal(
    replyText,
    'ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.',
  );
});

test('values outside of what was offered, and unknown vhosts, get 530', async () => {
  await using server = await startTestServer();
  const tuned = async (channelMax: number, frameMax: number): Promise<string> => {
    const peer = connect(server);
    peer.send(protocolHeader);
    peer.method(0, startOk());
    peer.method(0, { method: 'connection.tune-ok', channelMax, frameMax, heartbeat: 0 });
    peer.method(0, { method: 'connection.open', virtualHost: 'nope', capabilities: '', insist: false });
    const { replyCode, replyText } = await peer.expect('connection.close');
    assert.equal(replyCode, 530);
    return replyText;
  };
  assert.equal(
    await tuned(10, 100),
    'NOT_ALLOWED - negotiated frame_max = 100 is lower than the minimum allowed value (8192)',
  );
  assert.equal(
    await tuned(10, 0),
    'NOT_ALLOWED - negotiated frame_max = 0 is higher than the maximum allowed value (131072)',
  );
  assert.equal(
    await tuned(0, 131_072),
    'NOT_ALLOWED - negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)',
  );
  assert.equal(await tuned(10, 131_072), 'NOT_ALLOWED - vhost nope not found');
});

test('broken framing and frames out of place close the connection with the code of RabbitMQ', async () => {
  await using server = await startTestServer();
  const closedBy = async (bytes: Buffer, code: number, text: string): Promise<void> => {
    const peer = await openPeer(server);
    peer.method(1, channelOpen);
    peer.send(bytes);
    const close = await peer.expect('connection.close');
    assert.equal(close.replyCode, code);
    assert.equal(close.replyText, text);
    peer.method(0, { method: 'connection.close-ok' });
    if (!text.includes('frame_too_large') && !text.includes('marker')) await peer.until(() => peer.destroyed);
    else peer.destroy();
  };
  const tooLarge = Buffer.from([3, 0, 1, 0, 2, 0, 1]);
  await closedBy(tooLarge, 501, 'FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,131073,131064}');
  const badEnd = methodFrame(1, channelOpen);
  badEnd[badEnd.length - 1] = 7;
  await closedBy(badEnd, 501, 'FRAME_ERROR - type 1, all octets = <<0,20,0,10,0>>: {invalid_frame_end_marker,7}');
  await closedBy(rawFrame(5, 1, Buffer.from([1])), 501, 'FRAME_ERROR - type 5, all octets = <<1>>: unknown_frame');
  await closedBy(rawFrame(8, 1, Buffer.alloc(0)), 505, 'UNEXPECTED_FRAME - type 8, all octets = <<>>');
  await closedBy(rawFrame(2, 0, Buffer.from([1])), 505, 'UNEXPECTED_FRAME - type 2, all octets = <<1>>');
  await closedBy(
    methodFrame(2, { method: 'basic.qos', prefetchSize: 0, prefetchCount: 1, global: false }),
    504,
    "CHANNEL_ERROR - expected 'channel.open'",
  );
  await closedBy(methodFrame(1, channelOpen), 504, "CHANNEL_ERROR - second 'channel.open' seen");
  await closedBy(headerFrame(1, 0), 505, 'UNEXPECTED_FRAME - expected method frame, got non method frame instead');
  await closedBy(
    Buffer.concat([publishFrame(1, 'q'), publishFrame(1, 'q')]),
    505,
    'UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead',
  );
  await closedBy(
    Buffer.concat([publishFrame(1, 'q'), headerFrame(1, 5), headerFrame(1, 5)]),
    505,
    'UNEXPECTED_FRAME - expected content body, got non content body frame instead',
  );
  await closedBy(
    Buffer.concat([publishFrame(1, 'q'), headerFrame(1, 1), rawFrame(3, 1, Buffer.alloc(2))]),
    501,
    'FRAME_ERROR - content body frame exceeds remaining content size',
  );
  await closedBy(rawFrame(1, 1, Buffer.from([0, 60, 0, 10, 1])), 501, 'FRAME_ERROR - cannot decode <<1>>');
  await closedBy(
    methodFrame(1, { method: 'basic.qos', prefetchSize: 1, prefetchCount: 1, global: false }),
    540,
    'NOT_IMPLEMENTED - prefetch_size!=0 (1)',
  );
  await closedBy(methodFrame(1, { method: 'channel.flow', active: false }), 540, 'NOT_IMPLEMENTED - active=false');
  const immediate: Method = {
    method: 'basic.publish',
    ticket: 0,
    exchange: '',
    routingKey: 'q',
    mandatory: false,
    immediate: true,
  };
  await closedBy(
    Buffer.concat([methodFrame(1, immediate), headerFrame(1, 0)]),
    540,
    'NOT_IMPLEMENTED - immediate=true',
  );
});

test('before tuning a frame may have 8192 octets', async () => {
  await using server = await startTestServer();
  const peer = connect(server);
  peer.send(Buffer.concat([protocolHeader, Buffer.from([1, 0, 0, 0, 0, 0x20, 1])]));
  assert.equal((await peer.expect('connection.close')).replyCode, 501);
  peer.destroy();
});

test('a channel in error ignores everything but close and close-ok, then its number is free again', async () => {
  await using server = await startTestServer();
  const peer = await openPeer(server);
  peer.method(1, channelOpen);
  peer.method(1, { method: 'queue.purge', ticket: 0, queue: 'nope', nowait: false });
  const close = await peer.expect('channel.close');
  assert.deepEqual(close, {
    method: 'channel.close',
    replyCode: 404,
    replyText: "NOT_FOUND - no queue 'nope' in vhost '/'",
    classId: 50,
    methodId: 30,
  });
  peer.send(Buffer.concat([publishFrame(1, 'q'), headerFrame(1, 3), rawFrame(3, 1, Buffer.alloc(3))]));
  peer.method(1, { method: 'queue.purge', ticket: 0, queue: 'nope', nowait: false });
  peer.method(1, { method: 'channel.close', replyCode: 200, replyText: '', classId: 0, methodId: 0 });
  await peer.expect('channel.close-ok');
  peer.method(1, { method: 'channel.close-ok' });
  peer.method(1, channelOpen);
  await peer.until(() => peer.methods().filter(({ method }) => method === 'channel.open-ok').length === 2);
  assert.equal(peer.methods().filter(({ method }) => method === 'channel.close').length, 1);
});

test('more channels than negotiated get 530', async () => {
  await using server = await startTestServer();
  const peer = connect(server);
  peer.send(protocolHeader);
  peer.method(0, startOk());
  peer.method(0, { method: 'connection.tune-ok', channelMax: 2, frameMax: 8192, heartbeat: 0 });
  peer.method(0, { method: 'connection.open', virtualHost: '/', capabilities: '', insist: false });
  for (const channel of [1, 2, 3]) peer.method(channel, channelOpen);
  const close = await peer.expect('connection.close');
  assert.equal(
    close.replyText,
    'NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)',
  );
});

test('heartbeats are sent when idle, and a silent peer is dropped', async () => {
  await using server = await startTestServer();
  const peer = connect(server);
  peer.send(protocolHeader);
  peer.method(0, startOk());
  peer.method(0, { method: 'connection.tune-ok', channelMax: 2, frameMax: 8192, heartbeat: 1 });
  peer.method(0, { method: 'connection.open', virtualHost: '/', capabilities: '', insist: false });
  // Timers of the head do not keep a process alive.
  const keepAlive = setInterval(() => {}, 1000);
  await peer.until(() => peer.frames.some(({ type }) => type === 8));
  peer.send(heartbeatFrame);
  const spoke = Date.now();
  await peer.until(() => false);
  clearInterval(keepAlive);
  assert.ok(peer.destroyed);
  assert.ok(Date.now() - spoke >= 1900, `dropped after ${Date.now() - spoke} ms`);
  assert.ok(server.lines.some(({ message }) => message === 'missed heartbeats from AMQP client'));
});

test('the server that goes down waits for a client that does not answer, as long as its owner wants', async (t) => {
  await using server = await startTestServer();
  const peer = await openPeer(server);
  peer.answersClose = false;
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const closed = server.head.close('going down');
  await peer.expect('connection.close');
  t.mock.timers.tick(60_000);
  assert.ok(!peer.destroyed);
  peer.destroy();
  await closed;
  t.mock.timers.reset();
});

test('close tells the clients why', async () => {
  const server = await startTestServer();
  const peer = await openPeer(server);
  const closed = server.head.close('going down');
  const { replyCode, replyText } = await peer.expect('connection.close');
  assert.deepEqual([replyCode, replyText], [320, 'CONNECTION_FORCED - going down']);
  peer.method(0, { method: 'connection.close-ok' });
  await closed;
  assert.equal(server.head.connectionCount, 0);
  await server[Symbol.asyncDispose]();
});
