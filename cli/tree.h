// Reading the trees that `cluster` and `stats` return. Whatever a node of another version sends or
// leaves out, these answer something harmless.
#ifndef MF_CLI_TREE_H
#define MF_CLI_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "cli/output.h"
#include "mayfly/client.h"

// Elements of an array; 0 for anything else, NULL too.
size_t cli_count(const struct mayfly_value *array);
// A number of 0 or more; 0 for anything else, NULL too.
uint64_t cli_number(const struct mayfly_value *value);
// A table's next cell: a number, text, yes or no; - for nil or NULL; [n] for an array or map of n.
void cli_table_scalar(struct cli_table *table, const struct mayfly_value *value);

#endif
