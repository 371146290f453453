// The command table: one row a verb. Parsing, help and running all go by it.
#include "cli/cli.h"

#define ANY_NUMBER SIZE_MAX

const struct cli_verb cli_verbs[] = {
    {"get", "KEY", "Print a key's value; exit 1 and print nothing when it is absent",
     "Plain output is the value's bytes and a newline, or the bytes alone with --raw.\n"
     "Other outputs have the version and the TTL as well (-1: none).\n",
     1, 1, CLI_TAKES(LOCAL) | CLI_TAKES(RAW), CLI_PLAIN, cli_get},
    {"mget", "KEY...", "Print the values of many keys; exit 1 when one is absent",
     "Plain output is a line KEY<TAB>VALUE for each key that exists, escaped so that `load` reads\n"
     "it back.\n",
     1, ANY_NUMBER, CLI_TAKES(LOCAL), CLI_PLAIN, cli_mget},
    {"set", "KEY VALUE", "Write a key; VALUE - is read from standard input",
     "Prints OK, or with --get the value before, if there was one. A condition that did not hold:\n"
     "one line on stderr, exit 1, and nothing is written.\n",
     2, 2,
     CLI_TAKES(TTL) | CLI_TAKES(EXPIRE_AT) | CLI_TAKES(KEEP_TTL) | CLI_TAKES(NX) | CLI_TAKES(XX) |
         CLI_TAKES(GET) | CLI_TAKES(IF_VERSION),
     CLI_PLAIN, cli_set},
    {"mset", "KEY VALUE [KEY VALUE]...", "Write many keys, at once for the keys of one shard", "",
     2, ANY_NUMBER, CLI_TAKES(TTL), CLI_PLAIN, cli_mset},
    {"del", "KEY...", "Delete keys; print how many there were",
     "With --if-version, of one key only: exit 1 when nothing was deleted.\n", 1, ANY_NUMBER,
     CLI_TAKES(IF_VERSION), CLI_PLAIN, cli_del},
    {"has", "KEY...", "Print true or false for each key; exit 1 when one is absent", "", 1,
     ANY_NUMBER, 0, CLI_PLAIN, cli_has},
    {"expire", "KEY MS", "Give a key a time to live; 0 or less deletes it",
     "Prints true, or false with exit 1 when there is no such key or a condition did not hold.\n",
     2, 2, CLI_TAKES(NX) | CLI_TAKES(XX) | CLI_TAKES(GT) | CLI_TAKES(LT), CLI_PLAIN, cli_expire},
    {"persist", "KEY", "Take a key's time to live away",
     "Prints true, or false with exit 1 when there was none.\n", 1, 1, 0, CLI_PLAIN, cli_persist},
    {"ttl", "KEY", "Print the milliseconds a key has left; -1: no TTL; -2, exit 1: no key", "", 1,
     1, 0, CLI_PLAIN, cli_ttl},
    {"incr", "KEY [DELTA]", "Add to the integer that a key holds; print the sum",
     "DELTA is 1 unless given, and may be negative; an absent key counts as 0. --ttl is for a key\n"
     "that this makes. A value that is no integer, or a sum over 64 bits: exit 1, nothing "
     "changes.\n",
     1, 2, CLI_TAKES(TTL), CLI_PLAIN, cli_incr},
    {"append", "KEY VALUE", "Put VALUE behind a key's value; print the new length", "", 2, 2, 0,
     CLI_PLAIN, cli_append},
    {"getdel", "KEY", "Print a key's value and delete it; exit 1 when it is absent", "", 1, 1,
     CLI_TAKES(RAW), CLI_PLAIN, cli_getdel},
    {"getex", "KEY", "Print a key's value and change its time to live",
     "With --ttl it gets a new one, with --persist it loses the one it has.\n", 1, 1,
     CLI_TAKES(TTL) | CLI_TAKES(PERSIST) | CLI_TAKES(RAW), CLI_PLAIN, cli_getex},
    {"scan", "", "Print all keys of the cluster, a line each",
     "Plain output is escaped so that `load` reads it back. Keys that come or go meanwhile may be\n"
     "printed or not; all others are.\n",
     0, 0, CLI_TAKES(MATCH) | CLI_TAKES(BATCH), CLI_PLAIN, cli_scan},
    {"txn", "[FILE|-]", "Carry out several methods as one, if conditions hold",
     "Reads one JSON object, {\"if\": [[KEY, \"version\"|\"value\"|\"exists\", "
     "\"=\"|\"!=\"|\"<\"|\">\",\nOPERAND]...], \"then\": [[METHOD, PARAMETER...]...], "
     "\"else\": [...]}, as the wire protocol has\nit; bytes that are not UTF-8 are written "
     "{\"base64\": \"...\"}. Prints what the methods returned;\nexit 1 when a condition did not "
     "hold. All keys must be of one shard: give them one {tag}.\n",
     0, 1, 0, CLI_JSON, cli_txn},
    {"watch", "[KEY]", "Print changes of a key, or of all with a --prefix, as they happen",
     "A line for each change, until Ctrl-C. Plain output is EVENT<TAB>KEY<TAB>VERSION<TAB>VALUE,\n"
     "escaped as `load` has it; EVENT is set, del, expire or evict. Changes are told once, in "
     "order\n"
     "for each shard, through failovers; where one is lost, one line on stderr says so, exit 1.\n"
     "--from is for a KEY, or a prefix with a whole {tag}.\n",
     0, 1, CLI_TAKES(PREFIX) | CLI_TAKES(EVENTS) | CLI_TAKES(FROM), CLI_PLAIN, cli_watch},
    {"size", "", "Print the number of live keys in the cluster", "", 0, 0, 0, CLI_PLAIN, cli_size},
    {"flush", "", "Drop every key of the cluster; print how many there were", "", 0, 0, 0,
     CLI_PLAIN, cli_flush},
    {"ping", "", "Ask a node for a sign of life", "", 0, 0, 0, CLI_PLAIN, cli_ping},
    {"cluster", "", "Print the nodes, and who leads and holds the shards",
     "Asks every node of the cluster. Many shards are put together by leader and copies, those in\n"
     "trouble first; --all prints a line for each. ! marks a copy whose node is down. LAG is how "
     "many\n"
     "log entries the furthest copy has still to apply. JSON is what the connected node says, "
     "with\n"
     "keys, bytes and lag of each shard.\n",
     0, 0, CLI_TAKES(ALL) | CLI_TAKES(WATCH), CLI_TABLE, cli_cluster},
    {"status", "", "Print one line for each node: state, shards, keys, memory, load",
     "Asks every node of the cluster. STATE is alive, dead (its peers say so) or unreachable "
     "(from\n"
     "here). LEADS and HOLDS count shards. OPS/S is what clients asked of the node, measured for "
     "a\n"
     "quarter of a second, or between the last two times with --watch. LAG is how many log "
     "entries\n"
     "its furthest shard has still to apply.\n",
     0, 0, CLI_TAKES(WATCH), CLI_TABLE, cli_status},
    {"latency", "", "Measure round trips to each node",
     "ping: to the node and back. get: of keys that are not there, through the node to the leader "
     "of\n"
     "their shard. set, with --write: through a majority. Milliseconds, one request at a time, for "
     "a\n"
     "second at most unless --count is given.\n",
     0, 0, CLI_TAKES(BATCH) | CLI_TAKES(WRITE) | CLI_TAKES(WATCH), CLI_TABLE, cli_latency},
    {"hotkeys", "", "Print the keys that clients ask for most",
     "Asks every node for the last half minute and adds up, by key. SHARE is of all operations of\n"
     "the nodes that answered; NODES are those that clients asked, the busiest first.\n",
     0, 0, CLI_TAKES(BATCH) | CLI_TAKES(WATCH), CLI_TABLE, cli_hotkeys},
    {"stats", "", "Print the counters of the connected node", "", 0, 0, 0, CLI_TABLE, cli_stats},
    {"snapshot", "NAME", "Write a snapshot of the connected node's shards under that name",
     "Prints the file's path on the node. NAME is 1 to 64 of A-Z a-z 0-9 . _ - with no leading\n"
     "dot; the same name replaces the old file. --timeout is 600000 unless given.\n",
     1, 1, 0, CLI_PLAIN, cli_snapshot},
    {"transfer", "SHARD NODE", "Let a node lead a shard",
     "Prints true when it does. The shard stays with it until it stops leading it.\n", 2, 2, 0,
     CLI_PLAIN, cli_transfer},
    {"drain", "NODE", "Let a node lead nothing, until it restarts or with --undo",
     "Prints true when it leads nothing. It goes on serving: requests are passed on to the new\n"
     "leaders. An orderly stop does the same by itself.\n",
     1, 1, CLI_TAKES(UNDO), CLI_PLAIN, cli_drain},
    {"add-node", "NODE ADDRESS", "Let a node join the cluster; ADDRESS is its peer HOST:PORT",
     "Prints true when it is a member and has its share of the copies; the same again waits "
     "again.\n"
     "The node runs with an empty data folder, the cluster's name, secret and shards, its own id\n"
     "and listen.peer, and members in cluster.nodes. --timeout is 600000 unless given.\n",
     2, 2, 0, CLI_PLAIN, cli_add_node},
    {"remove-node", "NODE", "Let a node leave the cluster; it may be down",
     "Prints true when it has no copy and is no member any more: then it may be stopped. At least\n"
     "cluster.replicas nodes must be left. --timeout is 600000 unless given.\n",
     1, 1, 0, CLI_PLAIN, cli_remove_node},
    {"load", "[FILE|-]", "Write many records from a file or standard input",
     "tsv: a line KEY<TAB>VALUE[<TAB>TTL_MS] a record; \\t \\n \\r \\\\ stand for tab, newline,\n"
     "carriage return and backslash. ndjson: a JSON object a line with \"key\" or \"key_base64\",\n"
     "\"value\" or \"value_base64\", and \"ttl\" (ms) or \"expire_at\" (Unix ms), which may be "
     "null.\n"
     "Records are retried through failovers and never applied twice; the last of a repeated key\n"
     "wins. --timeout is 60000 unless given. A summary comes last. Exit 1 when it had to stop "
     "before\n"
     "the end.\n",
     0, 1,
     CLI_TAKES(TTL) | CLI_TAKES(FORMAT) | CLI_TAKES(WINDOW) | CLI_TAKES(SKIP_BAD) |
         CLI_TAKES(QUIET) | CLI_TAKES(ACKED),
     CLI_PLAIN, cli_load},
    {"bench", "[ARG...]", "Put load on the cluster and measure it: mayfly-bench",
     "Runs mayfly-bench, which is looked for in the folder of this program and then in PATH, with "
     "all\nthat stands behind the verb: mayfly bench --help. Flags that are given before the verb "
     "count there,\ntoo.\n",
     0, ANY_NUMBER, CLI_PASSES_ON, CLI_PLAIN, cli_bench},
};

const size_t cli_verb_count = sizeof cli_verbs / sizeof cli_verbs[0];
