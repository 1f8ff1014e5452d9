// How an AMQP connection begins and stays alive: credentials, vhosts, frame size, heartbeats, protocol versions.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import amqplib from 'amqplib';
import { clientHandshake, connectionClose, exchangeBytes, frameTypes, startFrameProxy } from './amqp-wire.ts';
import { getOne, isGone, newDurableQueue, publishAll, resetConnection, startWithAmqplib } from './amqplib-session.ts';
import { uniqueName, waitFor, within } from './conditions.ts';

const { broker, session } = await startWithAmqplib();

describe('handshake', { concurrency: true }, () => {
  test('the server names itself and its capabilities', async () => {
    const { serverProperties } = (await session.connect()).connection;
    assert.match(serverProperties.product, /\S/);
    assert.match(serverProperties.version, /^\d+\.\d+\.\d+/);
    const capabilities = serverProperties.capabilities as unknown as Record<string, boolean>;
    for (const name of [
      'publisher_confirms',
      'exchange_exchange_bindings',
      'basic.nack',
      'consumer_cancel_notify',
      'connection.blocked',
      'authentication_failure_close',
    ]) {
      assert.equal(capabilities[name], true, name);
    }
  });

  for (const [what, credentials] of [
    ['a wrong password', { username: 'guest', password: 'wrong' }],
    ['an unknown user', { username: 'nobody', password: 'guest' }],
  ] as const) {
    test(`403: ${what}`, async () => {
      await assert.rejects(session.connect(credentials), (error: Error) => {
        assert.match(error.message, /403 \(ACCESS-REFUSED\)/);
        assert.match(error.message, /ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN/);
        return true;
      });
    });
  }

  test('AMQPLAIN is accepted', async () => {
    const connection = await session.connect({ credentials: amqplib.credentials.amqplain('guest', 'guest') });
    await (await connection.createChannel()).checkExchange('amq.direct');
  });

  test('530: a vhost that is not there', async () => {
    const answer = await exchangeBytes(broker.amqp, clientHandshake({ vhost: 'no-such-vhost' }));
    assert.deepEqual(connectionClose(answer), { code: 530, text: 'NOT_ALLOWED - vhost no-such-vhost not found' });
  });

  for (const frameMax of [4096, 10_000_000]) {
    test(`a frame size that the server did not offer (${frameMax}) does not open a connection`, async () => {
      const answer = await exchangeBytes(broker.amqp, clientHandshake({ frameMax }));
      // RabbitMQ drops the connection without a word at this stage; saying why is allowed.
      assert.equal(connectionClose(answer)?.code ?? 530, 530);
    });
  }

  test('no frame of the server is larger than what the client negotiated', async () => {
    const proxy = await startFrameProxy(broker.amqp);
    const connection = await session.connect({ port: proxy.port, frameMax: 8192 });
    const channel = await session.channel(connection);
    const { queue } = await channel.assertQueue('', { exclusive: true });
    const body = randomBytes(200_000);
    await publishAll(channel, queue, [body], { headers: { padding: 'p'.repeat(4000) } });
    assert.ok((await getOne(channel, queue)).content.equals(body));
    assert.ok(proxy.fromServer.types.filter((type) => type === frameTypes.body).length >= 25);
    assert.ok(proxy.fromServer.largestBytes() <= 8192, `${proxy.fromServer.largestBytes()} bytes`);
    await connection.close();
    await proxy.close();
  });

  test('heartbeats keep an idle connection open, and both sides send them', async () => {
    const proxy = await startFrameProxy(broker.amqp);
    const connection = await session.connect({ port: proxy.port, heartbeat: 1 });
    const channel = await session.channel(connection);
    const heartbeats = (): number => proxy.fromServer.types.filter((type) => type === frameTypes.heartbeat).length;
    // Without what the client sends, the server would have closed after two of its own.
    await waitFor('heartbeats of the server', () => heartbeats() >= 6);
    await channel.checkExchange('amq.direct');
    await connection.close();
    await proxy.close();
  });

  test('a client that falls silent is disconnected, and what it had is redelivered', async () => {
    const proxy = await startFrameProxy(broker.amqp);
    const silent = await session.channel(await session.connect({ port: proxy.port, heartbeat: 1 }));
    const channel = await session.channel();
    const queue = await newDurableQueue(channel, 'silent');
    await publishAll(channel, queue, ['held']);
    await getOne(silent, queue);
    proxy.silenceClient();
    await within('the server to hang up', proxy.serverClosed);
    const back = await waitFor('the message to come back', async () => await channel.get(queue));
    assert.deepEqual([back.content.toString(), back.fields.redelivered], ['held', true]);
    await channel.deleteQueue(queue);
    await proxy.close();
  });

  test('a protocol that is not spoken is answered with the header that is', async () => {
    for (const header of ['AMQP\x01\x01\x08\x00', 'HELLO\r\n\r\n']) {
      const answer = await exchangeBytes(broker.amqp, Buffer.from(header, 'latin1'));
      // RabbitMQ 4 names AMQP 1.0 here; which version it is, is each broker's own answer.
      assert.match(answer.toString('latin1'), /^AMQP....$/s, JSON.stringify(header));
    }
  });

  test('501: a frame without its end octet closes the connection', async () => {
    const badFrame = Buffer.from([frameTypes.method, 0, 1, 0, 0, 0, 4, 0, 20, 0, 10, 0x00]);
    const answer = await exchangeBytes(broker.amqp, Buffer.concat([clientHandshake({}), badFrame]));
    assert.equal(connectionClose(answer)?.code, 501);
  });

  test('channels open up to the negotiated limit', async () => {
    const connection = await session.connect({ channelMax: 20 });
    const channels = [];
    for (let index = 0; index < 20; index += 1) channels.push(await connection.createChannel());
    await assert.rejects(async () => await connection.createChannel(), /No channels left to allocate/);
    await channels[7]?.close();
    await (await connection.createChannel()).checkExchange('amq.direct');
  });

  test('an exclusive queue of a connection that was reset is gone', async () => {
    const connection = await session.connect();
    const channel = await session.channel(connection);
    const { queue } = await channel.assertQueue(uniqueName('reset'), { exclusive: true });
    resetConnection(connection);
    await waitFor('the queue to go', () => isGone(session, queue));
  });
});
