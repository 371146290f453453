// Reading trees; see tree.h.
#include "cli/tree.h"

size_t cli_count(const struct mayfly_value *array)
{
    return array != NULL && array->type == MAYFLY_TYPE_ARRAY ? array->count : 0;
}

uint64_t cli_number(const struct mayfly_value *value)
{
    if (value == NULL)
        return 0;
    if (value->type == MAYFLY_TYPE_UINT)
        return value->uinteger;
    return value->type == MAYFLY_TYPE_INT && value->integer > 0 ? (uint64_t)value->integer : 0;
}

void cli_table_scalar(struct cli_table *table, const struct mayfly_value *value)
{
    switch (value != NULL ? value->type : MAYFLY_TYPE_NIL) {
    case MAYFLY_TYPE_NIL:
        cli_table_cell(table, "-");
        break;
    case MAYFLY_TYPE_BOOL:
        cli_table_cell(table, "%s", value->boolean ? "yes" : "no");
        break;
    case MAYFLY_TYPE_INT:
        cli_table_cell(table, "%lld", (long long)value->integer);
        break;
    case MAYFLY_TYPE_UINT:
        cli_table_cell(table, "%llu", (unsigned long long)value->uinteger);
        break;
    case MAYFLY_TYPE_DOUBLE:
        cli_table_cell(table, "%.3f", value->number);
        break;
    case MAYFLY_TYPE_STRING:
    case MAYFLY_TYPE_BYTES:
        cli_table_bytes(table, value->bytes);
        break;
    case MAYFLY_TYPE_ARRAY:
    case MAYFLY_TYPE_MAP:
        cli_table_cell(table, "[%u]", value->count);
        break;
    }
}
