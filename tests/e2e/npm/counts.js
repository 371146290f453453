// Counts with a cluster client, and keeps books: what was acknowledged, what was handed to a socket,
// what was wrong. For each line on standard input it prints them, as one line of JSON, and once more
// at the end of the input, when all that was under way has ended.
//     node counts.js ioredis|redis KEYS HOST:PORT...
'use strict';

const readline = require('readline');
const clients = require('./clients');

const [name, count, ...addresses] = process.argv.slice(2);
const PATIENCE_MS = 15000;
const STUCK = `no answer within ${PATIENCE_MS} ms`;
const books = {};
let going = true;

function note(book, error) {
    const text = String(error && error.message ? error.message : error).slice(0, 200);
    book.errors[text] = (book.errors[text] || 0) + 1;
    book.failed += 1;
}

// A client may wait for a node that has died and never look again: then another one is opened.
async function answered(promise) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(STUCK)), PATIENCE_MS);
    });
    try {
        return await Promise.race([promise, late]);
    } finally {
        clearTimeout(timer);
    }
}

async function work(shared, key) {
    let client = shared;
    const book = { acknowledged: 0, failed: 0, last: 0, wrong: [], errors: {} };
    books[key] = book;
    clients.countSent('INCR', key);
    while (going) {
        try {
            const value = await answered(client.incr(key));
            if (!(value > book.last)) {
                book.wrong.push(`INCR said ${value} after ${book.last}`);
            }
            book.last = value;
            book.acknowledged += 1;
            const read = Number(await answered(client.get(key)));
            if (!(read >= book.last && read <= clients.timesSent(key))) {
                book.wrong.push(`GET said ${read} after ${book.last}`);
            }
        } catch (error) {
            note(book, error);
            if (error.message === STUCK) {
                client = clients.open(name, 'cluster', addresses);
                await answered(client.ready()).catch((why) => note(book, why));
            }
            await new Promise((resolve) => { setTimeout(resolve, 20); });
        }
    }
}

function tell(then) {
    for (const [key, book] of Object.entries(books)) {
        book.sent = clients.timesSent(key);
    }
    process.stdout.write(`${JSON.stringify(books)}\n`, then);
}

async function main() {
    const client = clients.open(name, 'cluster', addresses);
    await client.ready();
    const workers = [];
    for (let i = 0; i < Number(count); i += 1) {
        workers.push(work(client, `count:${name}:${i}`));
    }
    readline.createInterface({ input: process.stdin }).on('line', () => tell()).on('close', async () => {
        going = false;
        await Promise.all(workers);
        tell(() => process.exit(0));
    });
}

main().catch((error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
});
