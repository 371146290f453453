// The table of commands that the Redis door knows, and what becomes of them: one row for each,
// which drives the reading of a request, COMMAND and its subcommands, and docs/redis.md.
//
// There are two kinds. A data command has a function that reads its words and options into one
// struct mf_command for the shards, and says in which form the result is told. Any other command is
// the server's own: it has a number, and the server carries it out.
//
// A new data command is a row in resp_table.c, a function in resp_data.c, and, if no form fits its
// reply, a form in resp_result.c. Constant data; any thread.
#ifndef MF_RPC_RESP_COMMAND_H
#define MF_RPC_RESP_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/command.h"
#include "base/result.h"
#include "rpc/resp.h"

enum mf_resp_flag {
    // As COMMAND tells them.
    MF_RESP_WRITE = 1u << 0,
    MF_RESP_READ = 1u << 1,
    MF_RESP_DENYOOM = 1u << 2,
    MF_RESP_ADMIN = 1u << 3,
    MF_RESP_PUBSUB = 1u << 4,
    MF_RESP_NOSCRIPT = 1u << 5,
    MF_RESP_LOADING = 1u << 6,
    MF_RESP_STALE = 1u << 7,
    MF_RESP_SKIP_SLOWLOG = 1u << 8,
    MF_RESP_FAST = 1u << 9,
    MF_RESP_NO_AUTH = 1u << 10, // a stranger may ask for it
    MF_RESP_ALLOW_BUSY = 1u << 11,
    // Categories that do not follow from those.
    MF_RESP_KEYSPACE = 1u << 16,
    MF_RESP_STRING = 1u << 17,
    MF_RESP_DANGEROUS = 1u << 18,
    MF_RESP_CONNECTION = 1u << 19,
    MF_RESP_TRANSACTION = 1u << 20,
    MF_RESP_SCRIPTING = 1u << 21,
    MF_RESP_BITMAP = 1u << 22,
    // The door's own.
    MF_RESP_CONTAINER = 1u << 24, // nothing without a subcommand
    MF_RESP_UNQUEUED = 1u << 25,  // carried out at once between MULTI and EXEC
    MF_RESP_LISTENING = 1u << 26, // may be asked for while subscribed
};

// What the server carries out itself.
enum mf_resp_own {
    MF_RESP_DATA, // nothing: it is a data command
    MF_RESP_PING,
    MF_RESP_ECHO,
    MF_RESP_HELLO,
    MF_RESP_AUTH,
    MF_RESP_SELECT,
    MF_RESP_RESET,
    MF_RESP_QUIT,
    MF_RESP_TIME,
    MF_RESP_WAIT,
    MF_RESP_WAITAOF,
    MF_RESP_CLUSTER_MODE, // READONLY, READWRITE, ASKING
    MF_RESP_CLUSTER,      // and all its subcommands
    MF_RESP_HELP,
    MF_RESP_CLIENT_ID,
    MF_RESP_CLIENT_SETNAME,
    MF_RESP_CLIENT_GETNAME,
    MF_RESP_CLIENT_INFO,
    MF_RESP_CLIENT_LIST,
    MF_RESP_CLIENT_KILL,
    MF_RESP_CLIENT_SETINFO,
    MF_RESP_CLIENT_ON_OFF, // NO-EVICT, NO-TOUCH
    MF_RESP_CLIENT_TRACKING,
    MF_RESP_CLIENT_CACHING,
    MF_RESP_CLIENT_TRACKINGINFO,
    MF_RESP_CLIENT_GETREDIR,
    MF_RESP_CLIENT_PAUSE,
    MF_RESP_CLIENT_UNPAUSE,
    MF_RESP_CLIENT_REPLY,
    MF_RESP_COMMAND, // and all its subcommands: see mf_resp_command_answer
    MF_RESP_ACL_WHOAMI,
    MF_RESP_ACL_LIST,
    MF_RESP_ACL_USERS,
    MF_RESP_ACL_CAT,
    MF_RESP_FUNCTION_FLUSH,
    MF_RESP_FUNCTION_LIST,
    MF_RESP_KEYS,
    MF_RESP_RANDOMKEY,
    MF_RESP_MULTI,
    MF_RESP_EXEC,
    MF_RESP_DISCARD,
    MF_RESP_WATCH,
    MF_RESP_UNWATCH,
    MF_RESP_LCS,
    MF_RESP_MONITOR,
    MF_RESP_PUBLISH,
    MF_RESP_PUBSUB_CHANNELS,
    MF_RESP_PUBSUB_NUMSUB,
    MF_RESP_PUBSUB_NUMPAT,
    MF_RESP_SUBSCRIBE,
    MF_RESP_PSUBSCRIBE,
    MF_RESP_UNSUBSCRIBE,
    MF_RESP_PUNSUBSCRIBE,
    MF_RESP_INFO,
    MF_RESP_SLOWLOG_GET,
    MF_RESP_SLOWLOG_LEN,
    MF_RESP_SLOWLOG_RESET,
    MF_RESP_LATENCY_DOCTOR,
    MF_RESP_LATENCY_GRAPH,
    MF_RESP_LATENCY_HISTOGRAM,
    MF_RESP_LATENCY_HISTORY,
    MF_RESP_LATENCY_LATEST,
    MF_RESP_LATENCY_RESET,
    MF_RESP_CONFIG_GET,
    MF_RESP_CONFIG_SET,
    MF_RESP_CONFIG_RESETSTAT,
    MF_RESP_CONFIG_REWRITE,
    MF_RESP_MEMORY_NONE, // DOCTOR, MALLOC-STATS
    MF_RESP_MEMORY_PURGE,
    MF_RESP_MEMORY_STATS,
    MF_RESP_DEBUG,
    MF_RESP_OWN_COUNT
};

// How a result is told. What a form does not speak of is told as it is: nil, an integer, a bulk
// string, an array of those, an error.
enum mf_resp_form {
    MF_RESP_FORM_PLAIN,
    MF_RESP_FORM_OK,             // OK, whatever it is
    MF_RESP_FORM_WRITTEN,        // OK if it was written, else null
    MF_RESP_FORM_WRITTEN_COUNT,  // 1 if it was written, else 0
    MF_RESP_FORM_OLD,            // the value before, or null
    MF_RESP_FORM_TRUE_COUNT,     // how many of a list are true
    MF_RESP_FORM_TYPE,           // the type of a key: of a list of one boolean
    MF_RESP_FORM_SECONDS,        // of milliseconds
    MF_RESP_FORM_FLOAT,          // the text of a number, or that there is none
    MF_RESP_FORM_SCAN,           // a cursor and keys
    MF_RESP_FORM_SCAN_NONE,      // the same without the keys: they are of another type
    MF_RESP_FORM_INVALID_EXPIRE, // null, or where there is a key that the expire time is invalid
                                 // ...
    MF_RESP_FORM_NOT_INTEGER,    // ... or no integer
    // Of MF_OP_OBJECT.
    MF_RESP_FORM_USAGE,
    MF_RESP_FORM_ENCODING,
    MF_RESP_FORM_FREQ,
    MF_RESP_FORM_IDLETIME,
    MF_RESP_FORM_REFCOUNT,
    MF_RESP_FORM_DEBUG_OBJECT,
    MF_RESP_FORM_DUMP,     // the value as Redis dumps it
    MF_RESP_FORM_RESTORED, // OK if it was written, else that the key is busy
    MF_RESP_FORM_BIT,      // a bit of the first byte: + 0 for the highest, to + 7
};

struct mf_resp_ask;

struct mf_resp_row {
    const char *name; // in lower case; of a subcommand "client|id"
    int arity;        // words, with the name; -n: n or more
    uint32_t flags;
    int first_key; // words; 0 = no keys
    int last_key;  // -1 = the last word
    int key_step;
    const char *key_flags;  // of each key, as COMMAND INFO tells them
    const char *key2_flags; // of the second, where they are others
    const char *key_notes;
    const char *tips; // the same, separated by blanks
    const char *group;
    const char *since;
    const char *summary;
    bool (*take)(struct mf_resp_ask *ask); // of a data command
    enum mf_resp_own own;
};

// By name, in the order of their names.
const struct mf_resp_row *mf_resp_rows(size_t *count);
// The command that the words ask for, a subcommand if it has any; NULL when there is none. Of a
// container alone, its own row.
const struct mf_resp_row *mf_resp_find(const struct mf_bytes *words, uint32_t count);
// It is a container, or "name" where there is a "name|subcommand".
bool mf_resp_has_subcommands(const struct mf_resp_row *row);
// By "name" or "name|subcommand".
const struct mf_resp_row *mf_resp_find_name(struct mf_bytes name);
static inline bool mf_resp_arity_fits(const struct mf_resp_row *row, uint32_t count)
{
    return row->arity >= 0 ? count == (uint32_t)row->arity : count >= (uint32_t)-row->arity;
}

// One request on its way to being understood. Reused for the next; mf_resp_ask_free at the end.
struct mf_resp_ask {
    // Given.
    const struct mf_bytes *words;
    uint32_t count;
    size_t key_bytes_max;
    size_t value_bytes_max;
    size_t request_bytes_max; // of what is made of the words, too
    // Found.
    const struct mf_resp_row *row;
    struct mf_command command; // of a data command; views point to the words, items to `items`
    enum mf_resp_form form;
    struct mf_buf error; // text of a refusal: "ERR ..."; empty = none
    // The reader's own.
    struct mf_item *items;
    uint32_t items_cap;
    struct mf_buf made;             // a value that is not among the words as it is
    const struct mf_resp_row *last; // found for the request before; NULL: it may have subcommands
};

// Finds the row and checks the number of words; false with an error.
MF_MUST_USE bool mf_resp_ask_find(struct mf_resp_ask *ask);
// Reads the words of a data command; false with an error.
MF_MUST_USE bool mf_resp_ask_take(struct mf_resp_ask *ask);
// Done with it: gives back memory that is not worth keeping for the next.
void mf_resp_ask_trim(struct mf_resp_ask *ask);
void mf_resp_ask_free(struct mf_resp_ask *ask);
// Refuses it; always false.
bool mf_resp_refuse(struct mf_resp_ask *ask, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// A word as text for an error: up to its first NUL.
int mf_resp_text_len(struct mf_bytes word);

// Redis's own words, where several files have to say them.
#define MF_RESP_SYNTAX "ERR syntax error"
#define MF_RESP_NOT_INTEGER "ERR value is not an integer or out of range"
#define MF_RESP_NO_CLUSTER "ERR This instance has cluster support disabled"
#define MF_RESP_CROSSSLOT "CROSSSLOT Keys in request don't hash to the same slot"

// What is needed of a request to tell its result.
struct mf_resp_telling {
    const struct mf_resp_row *row;
    enum mf_resp_form form;
    uint8_t version;
};
// Appends the reply to a data command.
void mf_resp_tell(struct mf_buf *out, struct mf_resp_telling telling,
                  const struct mf_result *result);
// The same for an error that has no result. message NULL: the code's own text.
void mf_resp_tell_error(struct mf_buf *out, enum mf_err err, const char *message);

// ACL CAT: the categories, or (category not NULL) the commands of one.
void mf_resp_categories_answer(struct mf_buf *out, const struct mf_bytes *category);

// COMMAND and its subcommands.
void mf_resp_command_answer(struct mf_buf *out, unsigned version, const struct mf_resp_row *row,
                            const struct mf_bytes *words, uint32_t count);
// NAME HELP, from the table.
void mf_resp_help_answer(struct mf_buf *out, const struct mf_resp_row *row);

#endif
