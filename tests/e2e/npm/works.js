// Does with a client what its users do, and ends well only where every answer was right.
//     node works.js ioredis|redis plain|cluster HOST:PORT...
'use strict';

const assert = require('assert');
const clients = require('./clients');

const [name, mode, ...addresses] = process.argv.slice(2);
const COUNT = 200;

async function values(client) {
    assert.strictEqual(await client.get('none'), null);
    for (let i = 0; i < COUNT; i += 1) {
        assert.strictEqual(await client.set(`key:${i}`, `value:${i}`), 'OK');
        assert.strictEqual(await client.get(`key:${i}`), `value:${i}`);
    }
    await client.set('short', 'lived', 100000);
    const left = await client.pttl('short');
    assert(left > 50000 && left <= 100000, `PTTL ${left}`);
    assert.strictEqual(await client.pttl('key:1'), -1);
    await client.set('{t}1', 'one');
    await client.set('{t}2', 'two');
    assert.deepStrictEqual(await client.mget('{t}1', '{t}none', '{t}2'), ['one', null, 'two']);
    assert.strictEqual(await client.del('{t}1', '{t}2', '{t}none'), 2);
}

async function transactions(client) {
    const commands = [['set', '{m}a', '1'], ['incr', '{m}a'], ['incr', '{m}b'], ['get', '{m}a']];
    assert.deepStrictEqual(await client.multi(commands), ['OK', 2, 1, '2']);
}

async function pipelines(client) {
    const sets = [];
    for (let i = 0; i < COUNT; i += 1) {
        sets.push(['set', `pipe:${i}`, `${i}`]);
    }
    assert((await client.pipeline(sets)).every((reply) => reply === 'OK'));
    const gets = sets.map(([, key]) => ['get', key]);
    assert.deepStrictEqual(await client.pipeline(gets), sets.map(([, , value]) => value));
}

async function walks(client) {
    const wanted = Array.from({ length: COUNT }, (_, i) => `key:${i}`).sort();
    assert.deepStrictEqual((await client.scan('key:*')).sort(), wanted);
    assert.strictEqual(await client.dbsize(), 2 * COUNT + 3);
    await client.flush();
    assert.strictEqual(await client.dbsize(), 0);
}

async function expiries(client) {
    const keys = Array.from({ length: 20 }, (_, i) => `dies:${i}`);
    const left = new Set(keys);
    let ended;
    const all = new Promise((resolve) => { ended = resolve; });
    await client.subscribe('__keyevent@0__:expired', (key) => {
        left.delete(key);
        if (left.size === 0) {
            ended();
        }
    });
    await Promise.all(keys.map((key) => client.set(key, 'v', 20)));
    await all;
    assert.strictEqual(await client.get(keys[0]), null);
}

async function main() {
    const client = clients.open(name, mode, addresses);
    await client.ready();
    for (const part of [values, transactions, pipelines, walks, expiries]) {
        process.stdout.write(`${part.name}\n`);
        await part(client);
    }
    assert.deepStrictEqual(clients.events, []);
    process.stdout.write('all well\n');
    process.exit(0);
}

main().catch((error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
});
