// ioredis and node-redis behind one face, so that one program drives both. Each method is the
// client's own call for the purpose.
'use strict';

const net = require('net');
const Redis = require('ioredis');
const redis = require('redis');

// Programs set what they rely on: here, to go on asking for as long as a slow machine may need.
const PATIENCE = 300;

// What the client told of itself by 'error' events: a lost connection is told so, too.
const events = [];
const noted = (client) => client.on('error', (error) => events.push(String(error)));

function ioredis(mode, addresses) {
    const nodes = addresses.map(([host, port]) => ({ host, port }));
    const options = {
        clusterRetryStrategy: () => 100,
        retryDelayOnFailover: 100,
        retryDelayOnClusterDown: 100,
        retryDelayOnTryAgain: 100,
        maxRedirections: PATIENCE,
        slotsRefreshTimeout: 10000,
        slotsRefreshInterval: 1000,
    };
    const client = noted(mode === 'cluster' ? new Redis.Cluster(nodes, options)
        : new Redis({ ...nodes[0], maxRetriesPerRequest: PATIENCE }));
    const masters = () => (mode === 'cluster' ? client.nodes('master') : [client]);
    return {
        ready: () => client.ping(),
        get: (key) => client.get(key),
        set: (key, value, ms) => (ms ? client.set(key, value, 'PX', ms) : client.set(key, value)),
        pttl: (key) => client.pttl(key),
        incr: (key) => client.incr(key),
        del: (...keys) => client.del(...keys),
        mget: (...keys) => client.mget(...keys),
        multi: async (commands) => {
            const multi = client.multi();
            commands.forEach(([name, ...rest]) => multi[name](...rest));
            return (await multi.exec()).map(([error, value]) => error || value);
        },
        pipeline: (commands) => Promise.all(commands.map(([name, ...rest]) => client[name](...rest))),
        scan: async (match) => {
            const found = [];
            for (const master of masters()) {
                let cursor = '0';
                do {
                    let keys;
                    [cursor, keys] = await master.scan(cursor, 'MATCH', match, 'COUNT', 10);
                    found.push(...keys);
                } while (cursor !== '0');
            }
            return found;
        },
        dbsize: async () => (await Promise.all(masters().map((one) => one.dbsize())))
            .reduce((sum, size) => sum + size, 0),
        flush: () => Promise.all(masters().map((one) => one.flushall())),
        subscribe: async (channel, hear) => {
            const subscriber = noted(client.duplicate());
            subscriber.on('message', (_, message) => hear(message));
            await subscriber.subscribe(channel);
            return subscriber;
        },
        close: async () => client.disconnect(),
    };
}

function nodeRedis(mode, addresses) {
    const sockets = addresses.map(([host, port]) => ({
        socket: { host, port, reconnectStrategy: 100 },
    }));
    const cluster = mode === 'cluster';
    const client = noted(cluster
        ? redis.createCluster({
            rootNodes: sockets,
            maxCommandRedirections: PATIENCE,
            // Otherwise each look at the map waits for a connection to every node in it.
            minimizeConnections: true,
            defaults: { socket: { reconnectStrategy: 100 } },
        })
        : redis.createClient(sockets[0]));
    const masters = async () => (cluster
        ? Promise.all(client.masters.map((one) => client.nodeClient(one))) : [client]);
    return {
        ready: () => client.connect(),
        get: (key) => client.get(key),
        set: (key, value, ms) => client.set(key, value, ms
            ? { expiration: { type: 'PX', value: ms } } : {}),
        pttl: (key) => client.pTTL(key),
        incr: (key) => client.incr(key),
        del: (...keys) => client.del(keys),
        mget: (...keys) => client.mGet(keys),
        multi: (commands) => {
            const multi = client.multi();
            commands.forEach(([name, ...rest]) => multi[name](...rest.map(String)));
            return multi.exec();
        },
        pipeline: (commands) => Promise.all(
            commands.map(([name, ...rest]) => client[name](...rest.map(String)))),
        scan: async (match) => {
            const found = [];
            for (const master of await masters()) {
                for await (const keys of master.scanIterator({ MATCH: match, COUNT: 10 })) {
                    found.push(...keys);
                }
            }
            return found;
        },
        dbsize: async () => (await Promise.all((await masters()).map((one) => one.dbSize())))
            .reduce((sum, size) => sum + size, 0),
        flush: async () => Promise.all((await masters()).map((one) => one.flushAll())),
        subscribe: async (channel, hear) => {
            if (cluster) {
                await client.subscribe(channel, hear);
                return client;
            }
            const subscriber = noted(client.duplicate());
            await subscriber.connect();
            await subscriber.subscribe(channel, hear);
            return subscriber;
        },
        close: async () => client.destroy(),
    };
}

// How often the command was handed to a socket: a client may send one again by itself.
const sent = new Map();
function countSent(name, key) {
    const pattern = new RegExp(`${name}\\r\\n\\$${key.length}\\r\\n${key}\\r\\n`, 'gi');
    sent.set(key, { pattern, times: 0 });
}

const write = net.Socket.prototype.write;
net.Socket.prototype.write = function counted(chunk, ...rest) {
    const text = String(chunk);
    for (const one of sent.values()) {
        one.times += (text.match(one.pattern) || []).length;
    }
    return write.call(this, chunk, ...rest);
};

function open(name, mode, addresses) {
    const parsed = addresses.map((address) => {
        const colon = address.lastIndexOf(':');
        return [address.slice(0, colon), Number(address.slice(colon + 1))];
    });
    return (name === 'ioredis' ? ioredis : nodeRedis)(mode, parsed);
}

module.exports = {
    open, events, countSent, timesSent: (key) => sent.get(key).times,
};
