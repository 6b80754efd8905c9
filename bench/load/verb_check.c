/* verb_check.c - load check: every slot of a record against what was meant for its number. */
#include "bench/load/accepts.h"
#include "bench/load/meter.h"
#include "bench/load/samples.h"
#include "bench/load/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <xxhash.h>

#define TOLD_MAX 5 /* of each kind of failure, on stderr */

struct check {
    const struct options *options;
    struct content *content;
    struct record_header *record;
    size_t record_size;
    struct accepts accepts; /* mapped for reading */
    struct samples latency;
    char *body;
    bool body_there;
    uint64_t delivered, missing, twice, wrong, first_ns, last_ns;
};

struct meant {
    uint64_t head_digest, body_digest;
    size_t size;
};

static struct meant meant_for(struct check *check, uint64_t number)
{
    char head[CONTENT_HEAD_MAX];
    size_t head_n = content_head(check->content, CONTENT_PLAIN, number, head);
    size_t body_n = content_body_max(check->content, CONTENT_PLAIN);
    if (check->body_there && content_fixed(check->content))
        content_patch(check->content, CONTENT_PLAIN, number, check->body);
    else
        body_n = content_body(check->content, CONTENT_PLAIN, number, check->body);
    check->body_there = true;
    return (struct meant){XXH3_64bits(head, head_n), XXH3_64bits(check->body, body_n), head_n + body_n};
}

static void tell_wrong(const struct check *check, uint64_t number, const struct record_slot *slot,
                       struct meant meant)
{
    if (check->wrong >= TOLD_MAX)
        return;
    fprintf(stderr,
            "load check: number %llu is not what was meant: head %s, body %s, %u bytes instead of %zu\n",
            (unsigned long long)number, slot->head_digest == meant.head_digest ? "right" : "wrong",
            slot->body_digest == meant.body_digest ? "right" : "wrong", slot->size, meant.size);
}

static void tell(bool allowed, uint64_t so_far, uint64_t number, const char *what)
{
    if (!allowed && so_far <= TOLD_MAX)
        fprintf(stderr, "load check: number %llu %s\n", (unsigned long long)number, what);
}

static void check_slot(struct check *check, uint64_t number, const struct record_slot *slot)
{
    if (slot->count == 0) {
        check->missing++;
        tell(check->options->allow_missing, check->missing, number, "was not delivered");
        return;
    }
    check->delivered++;
    if (slot->count > 1) {
        check->twice++;
        tell(check->options->allow_twice, check->twice, number, "was delivered more than once");
    }
    struct meant meant = meant_for(check, number);
    bool head =
        check->options->body_only || (slot->head_digest == meant.head_digest && slot->size == meant.size);
    if (!head || slot->body_digest != meant.body_digest) {
        tell_wrong(check, number, slot, meant);
        check->wrong++;
    }
    if (check->first_ns == 0 || slot->delivered_ns < check->first_ns)
        check->first_ns = slot->delivered_ns;
    if (slot->delivered_ns > check->last_ns)
        check->last_ns = slot->delivered_ns;
    uint64_t accepted = check->accepts.header && number < check->accepts.header->slots
                            ? accepts_slots(check->accepts.header)[number]
                            : 0;
    if (accepted) /* the first may be there before its answer was read */
        samples_add(&check->latency,
                    slot->delivered_ns > accepted ? (int64_t)(slot->delivered_ns - accepted) : 0);
}

static bool check_open(struct check *check, struct err *err)
{
    const struct options *options = check->options;
    check->record = file_map(options->record, false, &check->record_size, err);
    if (check->record == NULL)
        return false;
    if (!record_header_sound(check->record, check->record_size))
        return err_set(err, EINVAL, "%s is not a record that `world --record` wrote", options->record);
    if (options->accepts)
        check->accepts.header = file_map(options->accepts, false, &check->accepts.bytes, err);
    if (options->accepts && check->accepts.header == NULL)
        return false;
    if (options->accepts && !accepts_header_sound(check->accepts.header, check->accepts.bytes))
        return err_set(err, EINVAL, "%s is not an accepts file", options->accepts);
    check->content = content_create(options->kind, &options->domains, options->size, err);
    if (check->content == NULL || !samples_init(&check->latency, options->count, err))
        return false;
    check->body = malloc(content_body_max(check->content, CONTENT_PLAIN));
    return check->body || err_set(err, ENOMEM, "out of memory");
}

static bool check_report(struct check *check)
{
    const struct options *options = check->options;
    uint64_t from = options->seconds_from ? options->seconds_from : check->first_ns;
    double seconds = check->last_ns > from ? (double)(check->last_ns - from) / 1e9 : 0;
    bool sound = check->wrong == 0 && check->record->outside == 0 &&
                 (check->missing == 0 || options->allow_missing) &&
                 (check->twice == 0 || options->allow_twice);
    report_print(json_pack(
        "{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o}", "verb", "check", "sound", sound,
        "delivered", (json_int_t)check->delivered, "missing", (json_int_t)check->missing, "twice",
        (json_int_t)check->twice, "wrong", (json_int_t)check->wrong, "outside",
        (json_int_t)check->record->outside, "first_ns", (json_int_t)check->first_ns, "last_ns",
        (json_int_t)check->last_ns, "seconds", seconds, "a_second",
        seconds > 0 ? (double)check->delivered / seconds : 0.0, "latency_ms", samples_json(&check->latency)));
    return sound;
}

int load_check(const struct options *options, struct err *err)
{
    struct check check = {.options = options};
    bool ok = check_open(&check, err);
    static const struct record_slot none;
    for (uint64_t i = options->first; ok && i < options->first + options->count; i++)
        check_slot(&check, i, i < check.record->slots ? &record_slots(check.record)[i] : &none);
    ok = ok && check_report(&check);
    if (check.record)
        munmap(check.record, check.record_size);
    accepts_close(&check.accepts);
    samples_free(&check.latency);
    content_free(check.content);
    free(check.body);
    return ok ? 0 : 1;
}
