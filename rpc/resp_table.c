// The table of the Redis door's commands; see resp_command.h. Arity, flags, keys and tips are those
// that Redis 7.0 tells for the command, so that clients which ask find what they expect.
#include <string.h>

#include "rpc/resp_command.h"
#include "rpc/resp_data.h"

#define W MF_RESP_WRITE
#define R MF_RESP_READ
#define OOM MF_RESP_DENYOOM
#define FAST MF_RESP_FAST
#define ADMIN MF_RESP_ADMIN
#define NOSCRIPT MF_RESP_NOSCRIPT
#define ANYTIME (MF_RESP_LOADING | MF_RESP_STALE)
#define KEYSPACE MF_RESP_KEYSPACE
#define STRING MF_RESP_STRING
#define BITMAP MF_RESP_BITMAP
#define CONNECTION MF_RESP_CONNECTION
#define GREETING (NOSCRIPT | ANYTIME | FAST | MF_RESP_NO_AUTH | MF_RESP_ALLOW_BUSY | CONNECTION)

#define TRANSACTION                                                                                \
    (NOSCRIPT | ANYTIME | FAST | MF_RESP_ALLOW_BUSY | MF_RESP_TRANSACTION | MF_RESP_UNQUEUED)

#define LATENCY (ADMIN | NOSCRIPT | ANYTIME)

#define LISTENING (MF_RESP_PUBSUB | NOSCRIPT | ANYTIME | MF_RESP_LISTENING)

#define NO_KEYS 0, 0, 0, NULL, NULL, NULL
#define KEY(flags) 1, 1, 1, flags, NULL, NULL
#define SECOND_KEY(flags) 2, 2, 1, flags, NULL, NULL
#define KEY_NOTES(flags, notes) 1, 1, 1, flags, NULL, notes
#define TWO_KEYS(first, second) 1, 2, 1, first, second, NULL
#define KEYS(flags) 1, -1, 1, flags, NULL, NULL
#define PAIRS(flags) 1, -1, 2, flags, NULL, NULL

#define ON_ALL "request_policy:all_shards response_policy:all_succeeded"
#define ON_NODES "request_policy:all_nodes response_policy:all_succeeded"
#define ON_SOME VARIES " request_policy:all_nodes response_policy:special"
#define ADDED_UP "request_policy:multi_shard response_policy:agg_sum"
#define UNORDERED "nondeterministic_output_order"
#define VARIES "nondeterministic_output"

#define DATA(take) take, MF_RESP_DATA
#define OWN(own) NULL, MF_RESP_##own

// clang-format off
static const struct mf_resp_row rows[] = {
    {"acl", -2, MF_RESP_CONTAINER, NO_KEYS, NULL, "server", "6.0.0",
     "Commands about users and what they may do", OWN(HELP)},
    {"acl|cat", -2, NOSCRIPT | ANYTIME, NO_KEYS, NULL, "server", "6.0.0",
     "The categories of commands, or the commands of one", OWN(ACL_CAT)},
    {"acl|help", 2, ANYTIME, NO_KEYS, NULL, "server", "6.0.0", "Print this help.", OWN(HELP)},
    {"acl|list", 2, ADMIN | NOSCRIPT | ANYTIME, NO_KEYS, NULL, "server", "6.0.0",
     "The users, and that they may do everything", OWN(ACL_LIST)},
    {"acl|users", 2, ADMIN | NOSCRIPT | ANYTIME, NO_KEYS, NULL, "server", "6.0.0",
     "The names of the users", OWN(ACL_USERS)},
    {"acl|whoami", 2, NOSCRIPT | ANYTIME, NO_KEYS, NULL, "server", "6.0.0",
     "The user of this connection", OWN(ACL_WHOAMI)},
    {"append", 3, W | OOM | FAST | STRING, KEY("RW insert"), NULL, "string", "2.0.0",
     "Append bytes to a value", DATA(mf_resp_take_append)},
    {"asking", 1, FAST | CONNECTION, NO_KEYS, NULL, "cluster", "3.0.0",
     "Accepted, without an effect", OWN(CLUSTER_MODE)},
    {"auth", -2, GREETING, NO_KEYS, NULL, "connection", "1.0.0",
     "Say who you are", OWN(AUTH)},
    {"client", -2, MF_RESP_CONTAINER, NO_KEYS, NULL, "connection", "2.4.0",
     "Commands about connections", OWN(HELP)},
    {"client|caching", 3, NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection", "6.0.0",
     "Whether the keys of the next command are tracked", OWN(CLIENT_CACHING)},
    {"client|getname", 2, NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection", "2.6.9",
     "The name of this connection", OWN(CLIENT_GETNAME)},
    {"client|getredir", 2, NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection", "6.0.0",
     "Where what has changed is told", OWN(CLIENT_GETREDIR)},
    {"client|help", 2, ANYTIME | CONNECTION, NO_KEYS, NULL, "connection", "5.0.0",
     "Print this help.", OWN(HELP)},
    {"client|id", 2, NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection", "5.0.0",
     "The number of this connection", OWN(CLIENT_ID)},
    {"client|info", 2, NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, VARIES, "connection", "6.2.0",
     "What is known of this connection", OWN(CLIENT_INFO)},
    {"client|kill", -3, ADMIN | NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection",
     "2.4.0", "Close connections of this node", OWN(CLIENT_KILL)},
    {"client|list", -2, ADMIN | NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, VARIES, "connection",
     "2.4.0", "The connections of this node", OWN(CLIENT_LIST)},
    {"client|no-evict", 3, ADMIN | NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection",
     "7.0.0", "Accepted, without an effect", OWN(CLIENT_ON_OFF)},
    {"client|no-touch", 3, NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection", "7.2.0",
     "Accepted, without an effect", OWN(CLIENT_ON_OFF)},
    {"client|pause", -3, ADMIN | NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection",
     "2.9.50", "Let requests to this node wait", OWN(CLIENT_PAUSE)},
    {"client|reply", 3, NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection", "3.2.0",
     "Whether replies are sent", OWN(CLIENT_REPLY)},
    {"client|setinfo", 4, NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection", "7.2.0",
     "Name the client's library and its version", OWN(CLIENT_SETINFO)},
    {"client|setname", 3, NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection", "2.6.9",
     "Name this connection", OWN(CLIENT_SETNAME)},
    {"client|tracking", -3, NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection", "6.0.0",
     "Be told of changes of what was read", OWN(CLIENT_TRACKING)},
    {"client|trackinginfo", 2, NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection",
     "6.2.0", "What is tracked", OWN(CLIENT_TRACKINGINFO)},
    {"client|unpause", 2, ADMIN | NOSCRIPT | ANYTIME | CONNECTION, NO_KEYS, NULL, "connection",
     "6.2.0", "End what CLIENT PAUSE began", OWN(CLIENT_UNPAUSE)},
    {"cluster", -2, MF_RESP_CONTAINER, NO_KEYS, NULL, "cluster", "3.0.0",
     "Commands about the cluster, on the Redis Cluster port", OWN(CLUSTER)},
    {"cluster|count-failure-reports", 3, ADMIN | MF_RESP_STALE, NO_KEYS, VARIES, "cluster", "3.0.0",
     "How many nodes report that a node has failed: none ever does", OWN(CLUSTER)},
    {"cluster|countkeysinslot", 3, MF_RESP_STALE, NO_KEYS, NULL, "cluster", "3.0.0",
     "How many keys of a slot this node serves", OWN(CLUSTER)},
    {"cluster|getkeysinslot", 4, MF_RESP_STALE, NO_KEYS, VARIES, "cluster", "3.0.0",
     "Keys of a slot that this node serves", OWN(CLUSTER)},
    {"cluster|help", 2, ANYTIME, NO_KEYS, NULL, "cluster", "5.0.0",
     "Print this help.", OWN(CLUSTER)},
    {"cluster|info", 2, MF_RESP_STALE, NO_KEYS, VARIES, "cluster", "3.0.0",
     "The state of the cluster", OWN(CLUSTER)},
    {"cluster|keyslot", 3, MF_RESP_STALE, NO_KEYS, NULL, "cluster", "3.0.0",
     "The slot of a key", OWN(CLUSTER)},
    {"cluster|myid", 2, MF_RESP_STALE, NO_KEYS, NULL, "cluster", "3.0.0",
     "The id of this node", OWN(CLUSTER)},
    {"cluster|nodes", 2, MF_RESP_STALE, NO_KEYS, VARIES, "cluster", "3.0.0",
     "The nodes and the slots that they lead, as lines", OWN(CLUSTER)},
    {"cluster|shards", 2, MF_RESP_STALE, NO_KEYS, VARIES, "cluster", "7.0.0",
     "The nodes and the slots that they lead, as maps", OWN(CLUSTER)},
    {"cluster|slots", 2, MF_RESP_STALE, NO_KEYS, VARIES, "cluster", "3.0.0",
     "Which node leads which slots", OWN(CLUSTER)},
    {"command", -1, ANYTIME | CONNECTION, NO_KEYS, UNORDERED, "server", "2.8.13",
     "What is known of every command", OWN(COMMAND)},
    {"command|count", 2, ANYTIME | CONNECTION, NO_KEYS, NULL, "server", "2.8.13",
     "How many commands there are", OWN(COMMAND)},
    {"command|docs", -2, ANYTIME | CONNECTION, NO_KEYS, UNORDERED, "server", "7.0.0",
     "What commands are for", OWN(COMMAND)},
    {"command|getkeys", -4, ANYTIME | CONNECTION, NO_KEYS, NULL, "server", "2.8.13",
     "The keys in a whole command", OWN(COMMAND)},
    {"command|getkeysandflags", -4, ANYTIME | CONNECTION, NO_KEYS, NULL, "server", "7.0.0",
     "The keys in a whole command, and what is done to them", OWN(COMMAND)},
    {"command|help", 2, ANYTIME | CONNECTION, NO_KEYS, NULL, "server", "5.0.0",
     "Print this help.", OWN(HELP)},
    {"command|info", -2, ANYTIME | CONNECTION, NO_KEYS, UNORDERED, "server", "2.8.13",
     "What is known of these commands", OWN(COMMAND)},
    {"command|list", -2, ANYTIME | CONNECTION, NO_KEYS, UNORDERED, "server", "7.0.0",
     "The names of commands", OWN(COMMAND)},
    {"config", -2, MF_RESP_CONTAINER, NO_KEYS, NULL, "server", "2.0.0",
     "Settings of this node, under Redis's names", OWN(HELP)},
    {"config|get", -3, ADMIN | NOSCRIPT | ANYTIME, NO_KEYS, NULL, "server", "2.0.0",
     "Settings whose names match patterns", OWN(CONFIG_GET)},
    {"config|help", 2, ANYTIME, NO_KEYS, NULL, "server", "5.0.0",
     "Print this help.", OWN(HELP)},
    {"config|resetstat", 2, ADMIN | NOSCRIPT | ANYTIME, NO_KEYS, NULL, "server", "2.0.0",
     "Begin to count anew", OWN(CONFIG_RESETSTAT)},
    {"config|rewrite", 2, ADMIN | NOSCRIPT | ANYTIME, NO_KEYS, NULL, "server", "2.8.0",
     "Refused: the configuration file is yours alone", OWN(CONFIG_REWRITE)},
    {"config|set", -4, ADMIN | NOSCRIPT | ANYTIME, NO_KEYS,
     "request_policy:all_nodes response_policy:all_succeeded", "server", "2.0.0",
     "Change settings of this node until it stops", OWN(CONFIG_SET)},
    {"copy", -3, W | OOM | KEYSPACE, TWO_KEYS("RO access", "OW update"), NULL, "generic", "6.2.0",
     "Make a key what another one of its shard is", DATA(mf_resp_take_copy)},
    {"dbsize", 1, R | FAST | KEYSPACE, NO_KEYS,
     "request_policy:all_shards response_policy:agg_sum", "server", "1.0.0",
     "How many keys there are; on the cluster port, those that the node leads",
     DATA(mf_resp_take_dbsize)},
    {"debug", -2, ADMIN | NOSCRIPT | ANYTIME, NO_KEYS, NULL, "server", "1.0.0",
     "For tests, where security.debug_commands allows it", OWN(DEBUG)},
    {"decr", 2, W | OOM | FAST | STRING, KEY("RW access update"), NULL, "string", "1.0.0",
     "Subtract one from a number", DATA(mf_resp_take_incr)},
    {"decrby", 3, W | OOM | FAST | STRING, KEY("RW access update"), NULL, "string", "1.0.0",
     "Subtract from a number", DATA(mf_resp_take_incr)},
    {"del", -2, W | KEYSPACE, KEYS("RM delete"), ADDED_UP, "generic", "1.0.0",
     "Delete keys", DATA(mf_resp_take_del)},
    {"delifeq", 3, W | FAST | STRING, KEY("RM access delete"), NULL, "string", "9.0.0",
     "Delete a key if its value is this", DATA(mf_resp_take_delifeq)},
    {"discard", 1, TRANSACTION, NO_KEYS, NULL, "transactions", "2.0.0",
     "Forget the commands since MULTI", OWN(DISCARD)},
    {"dump", 2, R | KEYSPACE, KEY("RO access"), VARIES, "generic", "2.6.0",
     "A value in the form that RESTORE takes", DATA(mf_resp_take_dump)},
    {"echo", 2, ANYTIME | FAST | CONNECTION, NO_KEYS, NULL, "connection", "1.0.0",
     "Say that again", OWN(ECHO)},
    {"exec", 1, NOSCRIPT | ANYTIME | MF_RESP_SKIP_SLOWLOG | MF_RESP_TRANSACTION | MF_RESP_UNQUEUED,
     NO_KEYS, NULL, "transactions", "1.2.0",
     "Carry out the commands since MULTI", OWN(EXEC)},
    {"exists", -2, R | FAST | KEYSPACE, KEYS("RO"), ADDED_UP, "generic", "1.0.0",
     "How many of these keys there are", DATA(mf_resp_take_exists)},
    {"expire", -3, W | FAST | KEYSPACE, KEY("RW update"), NULL, "generic", "1.0.0",
     "Give a key a TTL in seconds", DATA(mf_resp_take_expire)},
    {"expireat", -3, W | FAST | KEYSPACE, KEY("RW update"), NULL, "generic", "1.2.0",
     "Let a key die at a Unix time in seconds", DATA(mf_resp_take_expire)},
    {"expiretime", 2, R | FAST | KEYSPACE, KEY("RO access"), NULL, "generic", "7.0.0",
     "The Unix time in seconds at which a key dies", DATA(mf_resp_take_expiretime)},
    {"flushall", -1, W | KEYSPACE | MF_RESP_DANGEROUS, NO_KEYS, ON_ALL, "server", "1.0.0",
     "Delete all keys; on the cluster port, those that the node leads", DATA(mf_resp_take_flush)},
    {"flushdb", -1, W | KEYSPACE | MF_RESP_DANGEROUS, NO_KEYS, ON_ALL, "server", "1.0.0",
     "Delete all keys; on the cluster port, those that the node leads", DATA(mf_resp_take_flush)},
    {"function", -2, MF_RESP_CONTAINER, NO_KEYS, NULL, "scripting", "7.0.0",
     "Commands about functions, of which there are none", OWN(HELP)},
    {"function|flush", -2, W | NOSCRIPT | MF_RESP_SCRIPTING, NO_KEYS, ON_ALL, "scripting", "7.0.0",
     "Delete all functions: there are none", OWN(FUNCTION_FLUSH)},
    {"function|help", 2, ANYTIME | MF_RESP_SCRIPTING, NO_KEYS, NULL, "scripting", "7.0.0",
     "Print this help.", OWN(HELP)},
    {"function|list", -2, NOSCRIPT | MF_RESP_SCRIPTING, NO_KEYS, UNORDERED, "scripting", "7.0.0",
     "The libraries of functions: none", OWN(FUNCTION_LIST)},
    {"get", 2, R | FAST | STRING, KEY("RO access"), NULL, "string", "1.0.0",
     "The value of a key", DATA(mf_resp_take_get)},
    {"getbit", 3, R | FAST | BITMAP, KEY("RO access"), NULL, "bitmap", "2.2.0",
     "A bit of a value", DATA(mf_resp_take_getbit)},
    {"getdel", 2, W | FAST | STRING, KEY("RW access delete"), NULL, "string", "6.2.0",
     "The value of a key, which is deleted", DATA(mf_resp_take_getdel)},
    {"getex", -2, W | FAST | STRING,
     KEY_NOTES("RW access update", "RW and UPDATE because it changes the TTL"), NULL, "string",
     "6.2.0", "The value of a key, whose TTL may be set or dropped", DATA(mf_resp_take_getex)},
    {"getrange", 4, R | STRING, KEY("RO access"), NULL, "string", "2.4.0",
     "A part of a value", DATA(mf_resp_take_getrange)},
    {"getset", 3, W | OOM | FAST | STRING, KEY("RW access update"), NULL, "string", "1.0.0",
     "Set a value, and tell the one before", DATA(mf_resp_take_getset)},
    {"hello", -1, GREETING, NO_KEYS, NULL, "connection", "6.0.0",
     "Choose the protocol's version, and say who you are", OWN(HELLO)},
    {"incr", 2, W | OOM | FAST | STRING, KEY("RW access update"), NULL, "string", "1.0.0",
     "Add one to a number", DATA(mf_resp_take_incr)},
    {"incrby", 3, W | OOM | FAST | STRING, KEY("RW access update"), NULL, "string", "1.0.0",
     "Add to a number", DATA(mf_resp_take_incr)},
    {"incrbyfloat", 3, W | OOM | FAST | STRING, KEY("RW access update"), NULL, "string", "2.6.0",
     "Add a fraction to a number", DATA(mf_resp_take_incrbyfloat)},
    {"info", -1, ANYTIME | MF_RESP_DANGEROUS, NO_KEYS,
     VARIES " request_policy:all_shards response_policy:special", "server", "1.0.0",
     "What is known of this node", OWN(INFO)},
    {"keys", 2, R | KEYSPACE | MF_RESP_DANGEROUS, NO_KEYS, "request_policy:all_shards " UNORDERED,
     "generic", "1.0.0", "All keys that match a pattern", OWN(KEYS)},
    {"latency", -2, MF_RESP_CONTAINER, NO_KEYS, NULL, "server", "2.8.13",
     "Commands about slow moments", OWN(HELP)},
    {"latency|doctor", 2, LATENCY, NO_KEYS, ON_SOME, "server", "2.8.13",
     "What there is to say about slow moments", OWN(LATENCY_DOCTOR)},
    {"latency|graph", 3, LATENCY, NO_KEYS, ON_SOME, "server", "2.8.13",
     "A drawing of the slow moments of one kind", OWN(LATENCY_GRAPH)},
    {"latency|help", 2, ANYTIME, NO_KEYS, NULL, "server", "2.8.13",
     "Print this help.", OWN(HELP)},
    {"latency|histogram", -2, LATENCY, NO_KEYS, ON_SOME, "server", "7.0.0",
     "How the times of commands are spread", OWN(LATENCY_HISTOGRAM)},
    {"latency|history", 3, LATENCY, NO_KEYS, ON_SOME, "server", "2.8.13",
     "The slow moments of one kind", OWN(LATENCY_HISTORY)},
    {"latency|latest", 2, LATENCY, NO_KEYS, ON_SOME, "server", "2.8.13",
     "The last slow moment of each kind", OWN(LATENCY_LATEST)},
    {"latency|reset", -2, LATENCY, NO_KEYS, ON_NODES, "server", "2.8.13",
     "Forget slow moments", OWN(LATENCY_RESET)},
    {"lcs", -3, R | STRING, 1, 2, 1, "RO access", NULL, NULL, NULL, "string", "7.0.0",
     "What two values have in common", OWN(LCS)},
    {"memory", -2, MF_RESP_CONTAINER, NO_KEYS, NULL, "server", "4.0.0",
     "Commands about memory", OWN(HELP)},
    {"memory|doctor", 2, 0, NO_KEYS,
     VARIES " request_policy:all_shards response_policy:special", "server", "4.0.0",
     "Refused: see MEMORY STATS", OWN(MEMORY_NONE)},
    {"memory|help", 2, ANYTIME, NO_KEYS, NULL, "server", "4.0.0",
     "Print this help.", OWN(HELP)},
    {"memory|malloc-stats", 2, 0, NO_KEYS,
     VARIES " request_policy:all_shards response_policy:special", "server", "4.0.0",
     "Refused: see MEMORY STATS", OWN(MEMORY_NONE)},
    {"memory|purge", 2, 0, NO_KEYS,
     "request_policy:all_shards response_policy:all_succeeded", "server", "4.0.0",
     "Accepted: unused memory goes back by itself", OWN(MEMORY_PURGE)},
    {"memory|stats", 2, 0, NO_KEYS,
     VARIES " request_policy:all_shards response_policy:special", "server", "4.0.0",
     "What the keys of this node's copies take", OWN(MEMORY_STATS)},
    {"memory|usage", -3, R, SECOND_KEY("RO"), NULL, "server", "4.0.0",
     "The bytes that a key takes", DATA(mf_resp_take_memory_usage)},
    {"mget", -2, R | FAST | STRING, KEYS("RO access"), "request_policy:multi_shard", "string",
     "1.0.0", "The values of keys", DATA(mf_resp_take_mget)},
    {"monitor", 1, ADMIN | NOSCRIPT | ANYTIME, NO_KEYS, NULL, "server", "1.0.0",
     "See what clients of this node ask for", OWN(MONITOR)},
    {"mset", -3, W | OOM | STRING, PAIRS("OW update"),
     "request_policy:multi_shard response_policy:all_succeeded", "string", "1.0.1",
     "Set the values of keys", DATA(mf_resp_take_mset)},
    {"msetnx", -3, W | OOM | STRING, PAIRS("OW insert"),
     "request_policy:multi_shard response_policy:agg_min", "string", "1.0.1",
     "Set the values of keys of one shard, if there is none of them", DATA(mf_resp_take_mset)},
    {"multi", 1, TRANSACTION, NO_KEYS, NULL, "transactions", "1.2.0",
     "Keep the commands that follow for EXEC", OWN(MULTI)},
    {"object", -2, MF_RESP_CONTAINER, NO_KEYS, NULL, "generic", "2.2.3",
     "Commands about what stands for a key", OWN(HELP)},
    {"object|encoding", 3, R | KEYSPACE, SECOND_KEY("RO"), VARIES, "generic", "2.2.3",
     "How Redis would keep the value", DATA(mf_resp_take_object)},
    {"object|freq", 3, R | KEYSPACE, SECOND_KEY("RO"), VARIES, "generic", "4.0.0",
     "Refused: there is no policy that counts uses", DATA(mf_resp_take_object)},
    {"object|help", 2, ANYTIME | KEYSPACE, NO_KEYS, NULL, "generic", "6.2.0",
     "Print this help.", OWN(HELP)},
    {"object|idletime", 3, R | KEYSPACE, SECOND_KEY("RO"), VARIES, "generic", "2.2.3",
     "0: times of use are not kept", DATA(mf_resp_take_object)},
    {"object|refcount", 3, R | KEYSPACE, SECOND_KEY("RO"), VARIES, "generic", "2.2.3",
     "1: values are not shared", DATA(mf_resp_take_object)},
    {"persist", 2, W | FAST | KEYSPACE, KEY("RW update"), NULL, "generic", "2.2.0",
     "Drop the TTL of a key", DATA(mf_resp_take_persist)},
    {"pexpire", -3, W | FAST | KEYSPACE, KEY("RW update"), NULL, "generic", "2.6.0",
     "Give a key a TTL in milliseconds", DATA(mf_resp_take_expire)},
    {"pexpireat", -3, W | FAST | KEYSPACE, KEY("RW update"), NULL, "generic", "2.6.0",
     "Let a key die at a Unix time in milliseconds", DATA(mf_resp_take_expire)},
    {"pexpiretime", 2, R | FAST | KEYSPACE, KEY("RO access"), NULL, "generic", "7.0.0",
     "The Unix time in milliseconds at which a key dies", DATA(mf_resp_take_expiretime)},
    {"ping", -1, FAST | CONNECTION | MF_RESP_LISTENING, NO_KEYS, ON_ALL, "connection", "1.0.0",
     "Is there anybody?", OWN(PING)},
    {"psetex", 4, W | OOM | STRING, KEY("OW update"), NULL, "string", "2.6.0",
     "Set a value with a TTL in milliseconds", DATA(mf_resp_take_setex)},
    {"psubscribe", -2, LISTENING, NO_KEYS, NULL, "pubsub", "2.0.0",
     "Hear of events on channels that match patterns", OWN(PSUBSCRIBE)},
    {"pttl", 2, R | FAST | KEYSPACE, KEY("RO access"), VARIES, "generic", "2.6.0",
     "The TTL of a key in milliseconds", DATA(mf_resp_take_ttl)},
    {"publish", 3, MF_RESP_PUBSUB | ANYTIME | FAST, NO_KEYS, NULL, "pubsub", "2.0.0",
     "Tell those who listen to a channel", OWN(PUBLISH)},
    {"pubsub", -2, MF_RESP_CONTAINER, NO_KEYS, NULL, "pubsub", "2.8.0",
     "Who listens to what, on this node", OWN(HELP)},
    {"pubsub|channels", -2, MF_RESP_PUBSUB | ANYTIME, NO_KEYS, NULL, "pubsub", "2.8.0",
     "The channels that are listened to", OWN(PUBSUB_CHANNELS)},
    {"pubsub|help", 2, ANYTIME, NO_KEYS, NULL, "pubsub", "6.2.0", "Print this help.", OWN(HELP)},
    {"pubsub|numpat", 2, MF_RESP_PUBSUB | ANYTIME, NO_KEYS, NULL, "pubsub", "2.8.0",
     "How many patterns are listened to", OWN(PUBSUB_NUMPAT)},
    {"pubsub|numsub", -2, MF_RESP_PUBSUB | ANYTIME, NO_KEYS, NULL, "pubsub", "2.8.0",
     "How many listen to each of these channels", OWN(PUBSUB_NUMSUB)},
    {"punsubscribe", -1, LISTENING, NO_KEYS, NULL, "pubsub", "2.0.0",
     "Hear no more of what PSUBSCRIBE asked for", OWN(PUNSUBSCRIBE)},
    {"quit", -1, GREETING | MF_RESP_UNQUEUED | MF_RESP_LISTENING, NO_KEYS, NULL, "connection",
     "1.0.0", "Close the connection", OWN(QUIT)},
    {"randomkey", 1, R | KEYSPACE, NO_KEYS, "request_policy:all_shards " VARIES, "generic", "1.0.0",
     "Some key", OWN(RANDOMKEY)},
    {"readonly", 1, ANYTIME | FAST | CONNECTION, NO_KEYS, NULL, "cluster", "3.0.0",
     "Accepted, without an effect", OWN(CLUSTER_MODE)},
    {"readwrite", 1, ANYTIME | FAST | CONNECTION, NO_KEYS, NULL, "cluster", "3.0.0",
     "Accepted, without an effect", OWN(CLUSTER_MODE)},
    {"rename", 3, W | KEYSPACE, TWO_KEYS("RW access delete", "OW update"), NULL, "generic",
     "1.0.0", "Give a key another name of its shard", DATA(mf_resp_take_rename)},
    {"renamenx", 3, W | FAST | KEYSPACE, TWO_KEYS("RW access delete", "OW insert"), NULL, "generic",
     "1.0.0", "Give a key another name of its shard that is free", DATA(mf_resp_take_rename)},
    {"reset", 1, GREETING | MF_RESP_UNQUEUED | MF_RESP_LISTENING, NO_KEYS, NULL, "connection",
     "6.2.0", "Make the connection what it was at its start", OWN(RESET)},
    {"restore", -4, W | OOM | KEYSPACE | MF_RESP_DANGEROUS, KEY("OW update"), NULL, "generic",
     "2.6.0", "Make a key of what DUMP gave", DATA(mf_resp_take_restore)},
    {"scan", -2, R | KEYSPACE, NO_KEYS, VARIES " request_policy:special", "generic", "2.8.0",
     "Some keys, and where to go on", DATA(mf_resp_take_scan)},
    {"select", 2, ANYTIME | FAST | CONNECTION, NO_KEYS, NULL, "connection", "1.0.0",
     "Choose a database: there is one, 0", OWN(SELECT)},
    {"set", -3, W | OOM | STRING,
     KEY_NOTES("RW access update variable_flags",
               "RW and ACCESS due to the optional `GET` argument"),
     NULL, "string", "1.0.0", "Set the value of a key", DATA(mf_resp_take_set)},
    {"setbit", 4, W | OOM | BITMAP, KEY("RW access update"), NULL, "bitmap", "2.2.0",
     "Set or clear a bit of a value", DATA(mf_resp_take_setbit)},
    {"setex", 4, W | OOM | STRING, KEY("OW update"), NULL, "string", "2.0.0",
     "Set a value with a TTL in seconds", DATA(mf_resp_take_setex)},
    {"setnx", 3, W | OOM | FAST | STRING, KEY("OW insert"), NULL, "string", "1.0.0",
     "Set a value if there is none", DATA(mf_resp_take_setnx)},
    {"setrange", 4, W | OOM | STRING, KEY("RW update"), NULL, "string", "2.2.0",
     "Write over a part of a value", DATA(mf_resp_take_setrange)},
    {"slowlog", -2, MF_RESP_CONTAINER, NO_KEYS, NULL, "server", "2.2.12",
     "Commands about the slow commands of this node", OWN(HELP)},
    {"slowlog|get", -2, ADMIN | ANYTIME, NO_KEYS, "request_policy:all_nodes " VARIES, "server",
     "2.2.12", "The newest of the slow commands: 10, or as many as are asked for, -1 for all",
     OWN(SLOWLOG_GET)},
    {"slowlog|help", 2, ANYTIME, NO_KEYS, NULL, "server", "6.2.0",
     "Print this help.", OWN(HELP)},
    {"slowlog|len", 2, ADMIN | ANYTIME, NO_KEYS,
     "request_policy:all_nodes response_policy:agg_sum " VARIES, "server", "2.2.12",
     "How many slow commands are kept", OWN(SLOWLOG_LEN)},
    {"slowlog|reset", 2, ADMIN | ANYTIME, NO_KEYS, ON_NODES, "server", "2.2.12",
     "Forget the slow commands", OWN(SLOWLOG_RESET)},
    {"strlen", 2, R | FAST | STRING, KEY("RO"), NULL, "string", "2.2.0",
     "The length of a value", DATA(mf_resp_take_strlen)},
    {"subscribe", -2, LISTENING, NO_KEYS, NULL, "pubsub", "2.0.0",
     "Hear of events on channels", OWN(SUBSCRIBE)},
    {"substr", 4, R | STRING, KEY("RO access"), NULL, "string", "1.0.0",
     "A part of a value: GETRANGE", DATA(mf_resp_take_getrange)},
    {"time", 1, ANYTIME | FAST, NO_KEYS, VARIES, "server", "2.6.0",
     "This node's Unix time: seconds and microseconds", OWN(TIME)},
    {"touch", -2, R | FAST | KEYSPACE, KEYS("RO"), ADDED_UP, "generic", "3.2.1",
     "How many of these keys there are", DATA(mf_resp_take_exists)},
    {"ttl", 2, R | FAST | KEYSPACE, KEY("RO access"), VARIES, "generic", "1.0.0",
     "The TTL of a key in seconds", DATA(mf_resp_take_ttl)},
    {"type", 2, R | FAST | KEYSPACE, KEY("RO"), NULL, "generic", "1.0.0",
     "The type of a key: string", DATA(mf_resp_take_type)},
    {"unlink", -2, W | FAST | KEYSPACE, KEYS("RM delete"), ADDED_UP, "generic", "4.0.0",
     "Delete keys", DATA(mf_resp_take_del)},
    {"unsubscribe", -1, LISTENING, NO_KEYS, NULL, "pubsub", "2.0.0",
     "Hear no more of what SUBSCRIBE asked for", OWN(UNSUBSCRIBE)},
    {"unwatch", 1, TRANSACTION & ~MF_RESP_UNQUEUED, NO_KEYS, NULL, "transactions", "2.2.0",
     "Forget the keys of WATCH", OWN(UNWATCH)},
    {"wait", 3, NOSCRIPT | CONNECTION, NO_KEYS,
     "request_policy:all_shards response_policy:agg_min", "generic", "3.0.0",
     "How many replicas there are", OWN(WAIT)},
    {"waitaof", 4, NOSCRIPT, NO_KEYS,
     "request_policy:all_shards response_policy:agg_min", "generic", "7.2.0",
     "Whether writes are on this disk, and on how many others", OWN(WAITAOF)},
    {"watch", -2, TRANSACTION, KEYS("RO"), NULL, "transactions", "2.2.0",
     "EXEC shall do nothing if one of these keys has changed", OWN(WATCH)},
};
// clang-format on

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

const struct mf_resp_row *mf_resp_rows(size_t *count)
{
    *count = ROW_COUNT;
    return rows;
}

static int lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

// Compares a word with the start of a row's name; *name moves behind what was equal.
static int compare(struct mf_bytes word, const char **name)
{
    for (size_t i = 0; i < word.len; i++, (*name)++) {
        int difference = lower(word.data[i]) - (uint8_t) * *name;
        if (difference != 0)
            return difference;
        if (**name == '\0')
            return 1; // a word with a NUL in it
    }
    return 0;
}

// sub NULL: only the name.
static const struct mf_resp_row *search(struct mf_bytes word, const struct mf_bytes *sub)
{
    size_t low = 0;
    size_t high = ROW_COUNT;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *name = rows[middle].name;
        int order = compare(word, &name);
        if (order == 0 && sub != NULL) {
            order = '|' - (uint8_t)*name;
            name++;
            if (order == 0)
                order = compare(*sub, &name);
        }
        if (order == 0)
            order = -(int)(uint8_t)*name; // the row's name goes on
        if (order == 0)
            return &rows[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

bool mf_resp_has_subcommands(const struct mf_resp_row *row)
{
    size_t len = strlen(row->name);
    const struct mf_resp_row *next = row + 1;
    return next < rows + ROW_COUNT && strncmp(next->name, row->name, len) == 0 &&
           next->name[len] == '|';
}

const struct mf_resp_row *mf_resp_find(const struct mf_bytes *words, uint32_t count)
{
    const struct mf_resp_row *row = search(words[0], NULL);
    if (row == NULL || strchr(row->name, '|') != NULL)
        return NULL;
    return count > 1 && mf_resp_has_subcommands(row) ? search(words[0], &words[1]) : row;
}

const struct mf_resp_row *mf_resp_find_name(struct mf_bytes name)
{
    const uint8_t *bar = name.len > 0 ? memchr(name.data, '|', name.len) : NULL;
    if (bar == NULL)
        return search(name, NULL);
    struct mf_bytes container = mf_bytes_of(name.data, (size_t)(bar - name.data));
    struct mf_bytes sub = mf_bytes_of(bar + 1, name.len - container.len - 1);
    return search(container, &sub);
}
