/* counts.c - see counts.h. */
#include "engine/tlsrpt/counts.h"

#include "engine/base/codec.h"
#include "queue/edit.h"

#include <stdio.h>
#include <stdlib.h>

#define VERSION 1

static uint64_t digest(const struct rpt_event *event, int64_t start_ms)
{
    uint64_t name = str_hash_seeded(str_of(event->domain), (uint64_t)start_ms);
    name = str_hash_seeded(str_of(event->host), name);
    name = str_hash_seeded(str_of(event->source), name);
    return name * 64 + (uint64_t)event->policy * 16 + (uint64_t)event->result;
}

static char *put(char **at, struct str s)
{
    char *begin = *at;
    memcpy(begin, s.p, s.n);
    begin[s.n] = '\0';
    *at += s.n + 1;
    return begin;
}

static struct count_row *row_make(struct counts *counts, uint64_t name, const struct str strings[4])
{
    size_t size = 4;
    for (int i = 0; i < 4; i++)
        size += strings[i].n;
    struct count_row *row = calloc(1, sizeof *row + size);
    if (row == NULL)
        return NULL;
    char *at = row->strings;
    row->name = name;
    row->domain = put(&at, strings[0]);
    row->host = put(&at, strings[1]);
    row->source = put(&at, strings[2]);
    row->text = put(&at, strings[3]);
    HASH_ADD(hh, counts->table, name, sizeof row->name, row);
    if (row->hh.tbl == NULL) {
        free(row);
        return NULL;
    }
    return row;
}

void counts_add(struct counts *counts, const struct rpt_event *event, int64_t start_ms, int64_t end_ms)
{
    uint64_t name = digest(event, start_ms);
    struct count_row *row;
    HASH_FIND(hh, counts->table, &name, sizeof name, row);
    if (row == NULL && HASH_COUNT(counts->table) < RPT_ROWS_MAX) {
        row = row_make(counts, name,
                       (const struct str[]){str_of(event->domain), str_of(event->host), str_of(event->source),
                                            str_of(event->text)});
        if (row != NULL) {
            row->start_ms = start_ms;
            row->end_ms = end_ms;
            row->policy = event->policy;
            row->result = event->result;
        }
    }
    if (row == NULL)
        return; /* no memory, or more domains than anybody reports about */
    row->count += event->count;
    row->dirty = true;
}

/* ---- on disk ---- */

static struct str row_key(uint64_t name, char text[17])
{
    snprintf(text, 17, "%016llx", (unsigned long long)name);
    return str_make(text, 16);
}

static bool row_save(const struct count_row *row, struct edits *edits)
{
    struct buf value;
    char key[17];
    buf_init(&value, POLICY_VALUE_MAX);
    buf_add_char(&value, VERSION);
    buf_add_varint(&value, (uint64_t)row->start_ms);
    buf_add_varint(&value, (uint64_t)row->end_ms);
    buf_add_varint(&value, row->count);
    buf_add_varint(&value, (uint64_t)row->policy);
    buf_add_varint(&value, (uint64_t)row->result);
    buf_add_field(&value, str_of(row->domain));
    buf_add_field(&value, str_of(row->host));
    buf_add_field(&value, str_of(row->source));
    buf_add_field(&value, str_of(row->text));
    bool saved = !value.failed && edits_policy(edits, POLICY_RPT, row_key(row->name, key), buf_str(&value));
    buf_free(&value);
    return saved;
}

bool counts_flush(struct counts *counts, struct store *store)
{
    struct edits *edits = edits_create();
    bool more = false;
    for (struct count_row *row = counts->table; edits != NULL && row != NULL; row = row->hh.next) {
        if (!row->dirty)
            continue;
        if (edits_count(edits) == EDITS_MAX) {
            more = true;
            break;
        }
        row->dirty = !row_save(row, edits);
    }
    if (edits != NULL && edits_count(edits) > 0)
        store_edit(store, edits, NULL, NULL);
    else
        edits_free(edits);
    return more;
}

static bool load_one(struct str name, struct str value, void *user)
{
    struct counts *counts = user;
    struct reader r = reader_of(value.p, value.n);
    char digits[17] = "";
    memcpy(digits, name.p, name.n < 16 ? name.n : 16);
    if (read_u8(&r) != VERSION || HASH_COUNT(counts->table) == RPT_ROWS_MAX)
        return true;
    int64_t start_ms = (int64_t)read_varint(&r), end_ms = (int64_t)read_varint(&r);
    uint64_t count = read_varint(&r), policy = read_varint(&r), result = read_varint(&r);
    struct str strings[4];
    for (int i = 0; i < 4; i++)
        strings[i] = read_field(&r);
    if (r.bad || policy > RPT_NO_POLICY || result >= RPT_RESULTS || strings[0].n > DOMAIN_MAX)
        return true;
    struct count_row *row = row_make(counts, strtoull(digits, NULL, 16), strings);
    if (row == NULL)
        return false;
    row->start_ms = start_ms;
    row->end_ms = end_ms;
    row->count = count;
    row->policy = (enum rpt_policy)policy;
    row->result = (enum rpt_result)result;
    return true;
}

void counts_load(struct counts *counts, struct store *store)
{
    query_policy(store, POLICY_RPT, load_one, counts);
}

static void row_free(struct counts *counts, struct count_row *row)
{
    HASH_DEL(counts->table, row); /* NOLINT(clang-analyzer-core.NullDereference): it is in the table */
    free(row);
}

void counts_drop(struct counts *counts, struct store *store, int64_t start_ms, const char *domain)
{
    struct edits *edits = edits_create();
    struct count_row *row, *next;
    char key[17];
    HASH_ITER(hh, counts->table, row, next)
    {
        if (row->start_ms != start_ms || strcmp(row->domain, domain) != 0)
            continue;
        if (edits == NULL || !edits_policy(edits, POLICY_RPT, row_key(row->name, key), STR("")))
            break; /* the rest with the next look */
        row_free(counts, row);
    }
    if (edits != NULL && edits_count(edits) > 0)
        store_edit(store, edits, NULL, NULL);
    else
        edits_free(edits);
}

void counts_free(struct counts *counts)
{
    while (counts->table != NULL)
        row_free(counts, counts->table);
}
