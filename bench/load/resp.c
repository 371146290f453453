// Redis's protocol for mayfly-bench; see resp.h and wire.h.
#include "bench/load/resp.h"

#include <stdio.h>
#include <string.h>

#define REQUEST_BYTES 512u // beside keys and values

// Answers.

// The rest of a line behind the type: a number, and where the next line begins.
static ssize_t take_number(const uint8_t *data, size_t len, int64_t *number)
{
    size_t at = 1;
    bool negative = len > 1 && data[1] == '-';
    uint64_t value = 0;
    for (at += negative; at < len && data[at] >= '0' && data[at] <= '9'; at++) {
        if (at > LOAD_DIGITS_MAX)
            return WIRE_BROKEN;
        value = value * 10 + (uint64_t)(data[at] - '0');
    }
    if (at + 1 >= len)
        return 0;
    if (data[at] != '\r' || data[at + 1] != '\n' || at == 1 + (size_t)negative)
        return WIRE_BROKEN;
    *number = negative ? -(int64_t)value : (int64_t)value;
    return (ssize_t)at + 2;
}

static ssize_t take_bulk(const uint8_t *data, size_t len, struct resp_item *item)
{
    ssize_t head = take_number(data, len, &item->number);
    if (head <= 0)
        return head;
    item->nil = item->number < 0;
    if (item->nil)
        return head;
    item->data = data + head;
    item->len = (size_t)item->number;
    if (item->len > (size_t)1 << 32)
        return WIRE_BROKEN;
    if (len - (size_t)head < item->len + 2)
        return 0;
    bool fine = item->data[item->len] == '\r' && item->data[item->len + 1] == '\n';
    return fine ? head + (ssize_t)item->len + 2 : WIRE_BROKEN;
}

ssize_t resp_take(const uint8_t *data, size_t len, struct resp_item *item)
{
    const uint8_t *end;
    ssize_t used;
    if (len == 0)
        return 0;
    *item = (struct resp_item){.type = (char)data[0]};
    switch (data[0]) {
    case '$':
        return take_bulk(data, len, item);
    case '+':
    case '-':
        end = memmem(data, len, "\r\n", 2);
        if (end == NULL)
            return 0;
        item->data = data + 1;
        item->len = (size_t)(end - data) - 1;
        return end - data + 2;
    case ':':
        return take_number(data, len, &item->number);
    case '*':
        used = take_number(data, len, &item->number);
        item->nil = item->number < 0;
        return used;
    default:
        return WIRE_BROKEN;
    }
}

ssize_t resp_length(const uint8_t *data, size_t len)
{
    size_t at = 0;
    for (int64_t left = 1; left > 0; left--) {
        struct resp_item item;
        ssize_t used = resp_take(data + at, len - at, &item);
        if (used <= 0)
            return used;
        at += (size_t)used;
        if (item.type == '*' && !item.nil)
            left += item.number;
        if (left > (int64_t)len)
            return 0; // each takes a byte at least
    }
    return (ssize_t)at;
}

static struct load_answer answer_of(const struct resp_item *item)
{
    struct load_answer answer = {.type = LOAD_STRANGE, .data = item->data, .len = item->len};
    if (item->type == '-')
        answer.type = LOAD_FAILED;
    else if (item->type == '+' && item->len == 2 && memcmp(item->data, "OK", 2) == 0)
        answer.type = LOAD_DONE;
    else if (item->type == '$')
        answer.type = item->nil ? LOAD_NIL : LOAD_BYTES;
    else if (item->type == ':' && item->number >= 0)
        answer = (struct load_answer){.type = LOAD_INTEGER, .integer = (uint64_t)item->number};
    return answer;
}

// OK, QUEUED, QUEUED, and an array of what SET and GET return. The first error is why it failed.
static ssize_t take_txn(const uint8_t *data, size_t len, struct load_answer *answer)
{
    enum { MULTI, QUEUED_SET, QUEUED_GET, EXEC, SET, GET, ITEMS };
    struct resp_item items[ITEMS] = {0};
    size_t at = 0;
    size_t count = SET;
    bool failed = false;
    for (size_t i = 0; i < count; i++) {
        ssize_t used = resp_take(data + at, len - at, &items[i]);
        if (used <= 0)
            return used;
        at += (size_t)used;
        if (items[i].type == '-' && !failed)
            *answer = answer_of(&items[i]);
        failed = failed || items[i].type == '-';
        if (i == EXEC && items[i].type == '*' && items[i].number == GET - EXEC)
            count = ITEMS;
    }
    if (failed || count < ITEMS)
        return (ssize_t)at;
    struct load_answer set = answer_of(&items[SET]);
    struct load_answer get = answer_of(&items[GET]);
    if (set.type == (get.type == LOAD_BYTES ? LOAD_DONE : LOAD_NIL))
        *answer = get;
    return (ssize_t)at;
}

static ssize_t format_take(const struct load_call *call, const uint8_t *data, size_t len,
                           struct load_answer *answer)
{
    struct resp_item item;
    if (call->kind == LOAD_TXN)
        return take_txn(data, len, answer);
    ssize_t used = resp_take(data, len, &item);
    if (used > 0)
        *answer = answer_of(&item);
    return used > 0 && item.type == '*' ? WIRE_BROKEN : used;
}

static bool format_moved(const struct load_answer *answer, uint16_t *slot, char *address,
                         size_t size)
{
    static const char prefix[] = "MOVED ";
    size_t head = sizeof(prefix) - 1;
    if (answer->len <= head || memcmp(answer->data, prefix, head) != 0)
        return false;
    const char *text = (const char *)answer->data + head;
    const char *space = memchr(text, ' ', answer->len - head);
    uint64_t number;
    if (space == NULL || !load_number(text, (size_t)(space - text), &number) ||
        number >= MF_SLOT_COUNT)
        return false;
    size_t len = answer->len - head - (size_t)(space + 1 - text);
    *slot = (uint16_t)number;
    return len > 1 && space[1] != ':' &&
           snprintf(address, size, "%.*s", (int)len, space + 1) < (int)size;
}

// Requests.

void resp_put(struct mf_buf *out, const char *const *words, size_t count)
{
    mf_buf_u8(out, '*');
    wire_put_number(out, count);
    WIRE_PUT(out, "\r\n");
    for (size_t i = 0; i < count; i++) {
        mf_buf_u8(out, '$');
        wire_put_number(out, strlen(words[i]));
        WIRE_PUT(out, "\r\n");
        mf_buf_put(out, words[i], strlen(words[i]));
        WIRE_PUT(out, "\r\n");
    }
}

static void put_key(struct mf_buf *out, const struct load_call *call)
{
    char key[LOAD_KEY_BYTES];
    size_t len = load_call_key(call, key);
    mf_buf_u8(out, '$');
    wire_put_number(out, len);
    WIRE_PUT(out, "\r\n");
    mf_buf_put(out, key, len);
    WIRE_PUT(out, "\r\n");
}

static void put_value(struct mf_buf *out, const struct load_call *call)
{
    const struct load_plan *plan = call->client->worker->run->plan;
    mf_buf_u8(out, '$');
    wire_put_number(out, plan->value_bytes);
    WIRE_PUT(out, "\r\n");
    load_call_value(call, mf_buf_reserve(out, plan->value_bytes));
    out->len += plan->value_bytes;
    WIRE_PUT(out, "\r\n");
}

static void put_ttl(struct mf_buf *out, const struct load_plan *plan)
{
    char digits[LOAD_DIGITS_MAX];
    size_t len = load_digits(digits, (uint64_t)plan->ttl_ms);
    WIRE_PUT(out, "$2\r\nPX\r\n$");
    wire_put_number(out, len);
    WIRE_PUT(out, "\r\n");
    mf_buf_put(out, digits, len);
    WIRE_PUT(out, "\r\n");
}

// With XX in a transaction, which writes a key only if it is there.
static void put_set(struct mf_buf *out, const struct load_call *call)
{
    const struct load_plan *plan = call->client->worker->run->plan;
    bool only_there = call->kind == LOAD_TXN;
    mf_buf_u8(out, '*');
    wire_put_number(out, 3 + (size_t)only_there + (plan->ttl_ms > 0 ? 2 : 0));
    WIRE_PUT(out, "\r\n$3\r\nSET\r\n");
    put_key(out, call);
    put_value(out, call);
    if (only_there)
        WIRE_PUT(out, "$2\r\nXX\r\n");
    if (plan->ttl_ms > 0)
        put_ttl(out, plan);
}

static void format_put(const struct load_call *call, struct mf_buf *out)
{
    (void)mf_buf_reserve(out, REQUEST_BYTES);
    switch (call->kind) {
    case LOAD_SET:
        put_set(out, call);
        return;
    case LOAD_TXN:
        WIRE_PUT(out, "*1\r\n$5\r\nMULTI\r\n");
        put_set(out, call);
        WIRE_PUT(out, "*2\r\n$3\r\nGET\r\n");
        put_key(out, call);
        WIRE_PUT(out, "*1\r\n$4\r\nEXEC\r\n");
        return;
    case LOAD_INCR:
        WIRE_PUT(out, "*2\r\n$4\r\nINCR\r\n");
        break;
    case LOAD_DEL:
        WIRE_PUT(out, "*2\r\n$3\r\nDEL\r\n");
        break;
    default:
        WIRE_PUT(out, "*2\r\n$3\r\nGET\r\n");
        break;
    }
    put_key(out, call);
}

// Beginnings.

static bool format_greet(const struct load_plan *plan, int fd, char *message, size_t size)
{
    if (plan->password == NULL || plan->password[0] == '\0')
        return true;
    const char *words[3] = {"AUTH", plan->user, plan->password};
    bool named = plan->user != NULL && plan->user[0] != '\0';
    if (!named)
        words[1] = plan->password;
    struct mf_buf out = {0};
    struct mf_buf in = {0};
    resp_put(&out, words, named ? 3 : 2);
    bool fine = wire_ask(fd, &out, &in, resp_length, message, size);
    if (fine && in.data[0] != '+') {
        snprintf(message, size, "AUTH: %.*s", (int)strcspn((char *)in.data, "\r"), in.data);
        fine = false;
    }
    mf_buf_free(&out);
    mf_buf_free(&in);
    return fine;
}

static const struct wire_format format = {
    .put = format_put,
    .take = format_take,
    .greet = format_greet,
    .moved = format_moved,
};

static bool resp_begin(struct load_run *run)
{
    char message[WIRE_MESSAGE_BYTES];
    if (!wire_begin(run, &format))
        return false;
    struct wire_nodes *nodes = run->shared;
    nodes->mapped = run->plan->cluster;
    if (!nodes->mapped || resp_map_slots(run->plan, nodes, message, sizeof(message)))
        return true;
    fprintf(stderr, "mayfly-bench: CLUSTER SLOTS: %s\n", message);
    return false;
}

const struct load_protocol load_resp = {
    .name = "resp",
    .endpoints = "127.0.0.1:6379",
    .kinds = (1u << LOAD_KINDS) - 1,
    .pipeline_max = 4096,
    .has_passwords = true,
    .has_ttl = true,
    .begin = resp_begin,
    .end = wire_end,
    .open = wire_open,
    .close = wire_close,
    .is_near = wire_is_near,
    .submit = wire_submit,
    .turn = wire_turn,
};
