// What the configuration's modules share: the table of keys, the reading of one value, the reading
// of a file. Private to server/config*.c; everybody else sees config.h.
#ifndef MF_SERVER_CONFIG_TABLE_H
#define MF_SERVER_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "server/config.h"

// The longest line of a file, without its end: room for every value.
#define MF_CONFIG_LINE_MAX 8192

enum mf_config_kind {
    MF_CONFIG_INTEGER, // an integer from min to max
    MF_CONFIG_SIZE,    // bytes from min to max; kb, mb, gb are understood
    MF_CONFIG_CHOICE,  // one of choices
    MF_CONFIG_TEXT,    // min to max bytes
    MF_CONFIG_HOST,    // a name or IP address without port; may be empty
    MF_CONFIG_ADDRESS, // host:port; may be empty when min is 0
    MF_CONFIG_NODES,   // id=host:port, ...
};

struct mf_config_choice {
    const char *text; // NULL ends the list
    uint64_t value;
};

// One row of the table. The value goes to `size` bytes at `offset` of struct mf_config.
struct mf_config_key {
    const char *section;
    const char *name;
    enum mf_config_kind kind;
    size_t offset;
    size_t size;
    uint64_t min;
    uint64_t max;
    const struct mf_config_choice *choices;
    const char *preset; // the default as text; NULL: it depends on other keys, and help says how
    bool hidden;        // the value is a secret and never appears in a message
    const char *help;
};

// The table, in the order of the reference; rows of a section stand together.
#define MF_CONFIG_KEY_COUNT 37
extern const struct mf_config_key mf_config_keys[];

// The row, or NULL.
const struct mf_config_key *mf_config_key_find(const char *section, const char *name);
bool mf_config_section_known(const char *section);

// "node, cluster, ..." and "id, data_dir, ...", for messages.
void mf_config_sections_list(char *out, size_t size);
void mf_config_names_list(const char *section, char *out, size_t size);

// Checks a value and stores it. False: `expected` says what it should have been, as in "an integer
// from 1 to 16384", and config may hold a part of it.
MF_MUST_USE bool mf_config_value_set(const struct mf_config_key *key, const char *value,
                                     struct mf_config *config, char *expected,
                                     size_t expected_size);

// "64mb", "1000": the shortest exact form.
void mf_config_size_format(uint64_t bytes, char *out, size_t out_size);

// Takes one `name = value` of a file. Errors stop the reading; the message is the callee's.
typedef enum mf_err (*mf_config_file_set)(void *arg, unsigned line, const char *section,
                                          const char *name, const char *value);

// Reads an INI file and hands over its values, comments and blanks around them gone. MF_BAD_REQUEST
// with one line in `message` for what is no INI file, an unknown section, or a file that cannot be
// read; otherwise what `set` returned.
MF_MUST_USE enum mf_err mf_config_file_read(const char *file, mf_config_file_set set, void *arg,
                                            char *message, size_t message_size);

#endif
