/* disk_cut.c - what a power cut leaves of a recorded disk: see disk.h.
 *
 * The platter follows the record up to the cut; what is pending by then is kept, dropped or torn. */
#include "tests/crash/disk_record.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512

const char *disk_place_name(enum disk_place place)
{
    static const char *const names[] = {"page", "meta page", "log head", "log zeros", "log frame", "copy"};
    return names[place];
}

/* ---- the platter ---- */

static void pending_add(struct disk_object *object, size_t n)
{
    if (object->pending_n == object->pending_cap) {
        object->pending_cap = object->pending_cap ? 2 * object->pending_cap : 16;
        object->pending = disk_must(realloc(object->pending, object->pending_cap * sizeof *object->pending));
    }
    object->pending[object->pending_n++] = n;
}

static void lengthen(struct disk_object *object, size_t size)
{
    if (size <= object->size)
        return;
    object->bytes = disk_must(realloc(object->bytes, size));
    memset(object->bytes + object->size, 0, size - object->size);
    object->size = size;
}

/* Part of a write, whole sectors but at its ends. */
static void apply_part(struct disk_object *object, const struct disk_op *op, size_t from, size_t n)
{
    if (op->bytes != NULL)
        memcpy(object->bytes + op->offset + from, op->bytes + from, n);
    else
        memset(object->bytes + op->offset + from, 0, n);
}

static void apply(struct disk_object *object, const struct disk_op *op)
{
    if (op->kind == DISK_NAME) {
        snprintf(object->named, sizeof object->named, "%s", op->name);
        return;
    }
    lengthen(object, op->offset + op->size);
    apply_part(object, op, 0, op->size);
}

/* What is pending of the object and was picked goes to the platter, the rest stays. */
static void settle(struct disk_object *object, bool pick(const struct disk_op *op, const struct disk_op *by),
                   const struct disk_op *by)
{
    size_t left = 0;
    for (size_t n = 0; n < object->pending_n; n++) {
        const struct disk_op *op = &disk.ops[object->pending[n]];
        if (pick(op, by))
            apply(object, op);
        else
            object->pending[left++] = object->pending[n];
    }
    object->pending_n = left;
}

static bool pick_writes(const struct disk_op *op, const struct disk_op *by)
{
    (void)by;
    return op->kind == DISK_WRITE;
}

static bool pick_names(const struct disk_op *op, const struct disk_op *by)
{
    (void)by;
    return op->kind == DISK_NAME;
}

/* What lies in the same pages goes along. */
static bool pick_overlapping(const struct disk_op *op, const struct disk_op *by)
{
    return op->kind == DISK_WRITE && op->offset < by->offset + by->size && by->offset < op->offset + op->size;
}

static void reach(size_t at)
{
    for (; disk.reached < at; disk.reached++) {
        const struct disk_op *op = &disk.ops[disk.reached];
        struct disk_object *object = &disk.objects[op->object];
        if (op->kind == DISK_WRITE && op->through) {
            settle(object, pick_overlapping, op);
            apply(object, op);
        } else if (op->kind != DISK_SYNC) {
            pending_add(object, disk.reached);
        } else if (object->directory) {
            for (unsigned n = 1; n < disk.object_n; n++)
                if (disk.objects[n].parent == op->object)
                    settle(&disk.objects[n], pick_names, NULL);
        } else {
            settle(object, pick_writes, NULL);
        }
    }
}

/* ---- cuts ---- */

enum mood { EACH_FOR_ITSELF, NOTHING_KEPT, ALL_KEPT, FIRST_ONES, ALL_BUT_ONE, MOODS };

struct cut {
    struct prng *prng;
    struct disk_tally *tally;
    enum mood mood;
    size_t under_way; /* the operation */
    bool there[DISK_OBJECTS];
    char path[DISK_OBJECTS][DISK_PATH_BYTES];
};

static enum disk_place place_of(const struct disk_op *op)
{
    const struct disk_object *object = &disk.objects[op->object];
    if (strcmp(disk.objects[object->parent].name, "queue") != 0)
        return DISK_COPY;
    if (strcmp(object->name, "data.mdb") == 0)
        return op->offset < (size_t)2 * DISK_BLOCK ? DISK_META : DISK_PAGE;
    return op->offset < DISK_BLOCK ? DISK_HEAD : op->bytes == NULL ? DISK_ZEROS : DISK_FRAME;
}

/* The n-th of so many that are not on the platter for certain. */
static enum disk_fate fate_of(struct cut *cut, size_t n, size_t count, size_t turn)
{
    switch (cut->mood) {
    case NOTHING_KEPT:
        return DISK_DROPPED;
    case ALL_KEPT:
        return DISK_KEPT;
    case FIRST_ONES:
        return n < turn ? DISK_KEPT : n == turn ? DISK_TORN : DISK_DROPPED;
    case ALL_BUT_ONE:
        return n != turn || count == 0 ? DISK_KEPT : prng_below(cut->prng, 2) ? DISK_DROPPED : DISK_TORN;
    default:
        return (enum disk_fate)prng_below(cut->prng, DISK_FATES);
    }
}

/* Some of its sectors: the first ones, or any. */
static void tear(struct cut *cut, struct disk_object *image, const struct disk_op *op)
{
    size_t first = op->offset / SECTOR, sectors = (op->offset + op->size - 1) / SECTOR - first + 1;
    size_t until = (size_t)prng_below(cut->prng, sectors + 1);
    bool in_order = prng_below(cut->prng, 2) == 0;
    for (size_t n = 0; n < sectors; n++) {
        size_t from = n == 0 ? op->offset : (first + n) * SECTOR;
        size_t end = n + 1 == sectors ? op->offset + op->size : (first + n + 1) * SECTOR;
        if (in_order ? n < until : prng_below(cut->prng, 2))
            apply_part(image, op, from - op->offset, end - from);
    }
}

static void write_cut(struct cut *cut, struct disk_object *image, const struct disk_op *op,
                      enum disk_fate fate)
{
    size_t end = op->offset + op->size;
    cut->tally->writes[place_of(op)][fate]++;
    if (fate == DISK_KEPT) {
        apply(image, op);
    } else if (fate == DISK_TORN) {
        lengthen(image, end);
        tear(cut, image, op);
    } else if (end > image->size && prng_below(cut->prng, 2)) {
        lengthen(image, end);
        cut->tally->lengthened++;
    }
}

static void file_write(const struct disk_object *image, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)image->size) != 0)
        disk_die("cannot write", path);
    for (size_t at = 0; at < image->size;) { /* holes are zeros too */
        size_t n = 0;
        while (at + n < image->size) {
            size_t block = image->size - at - n < DISK_BLOCK ? image->size - at - n : DISK_BLOCK;
            if (disk_is_zero(image->bytes + at + n, block))
                break;
            n += block;
        }
        if (n > 0 && pwrite(fd, image->bytes + at, n, (off_t)at) != (ssize_t)n)
            disk_die("cannot write", path);
        at += n > 0 ? n : DISK_BLOCK;
    }
    close(fd);
}

static void file_cut(struct cut *cut, unsigned number, size_t writes)
{
    const struct disk_object *object = &disk.objects[number];
    struct disk_object image = *object;
    image.bytes = disk_must(malloc(image.size + 1));
    if (image.size > 0)
        memcpy(image.bytes, object->bytes, image.size);
    size_t turn = writes > 0 ? (size_t)prng_below(cut->prng, writes) : 0, n = 0;
    for (size_t i = 0; i < object->pending_n; i++) {
        const struct disk_op *op = &disk.ops[object->pending[i]];
        if (op->kind == DISK_WRITE) {
            write_cut(cut, &image, op, fate_of(cut, n, writes, turn));
            n++;
        }
    }
    if (cut->under_way < disk.op_n) {
        const struct disk_op *op = &disk.ops[cut->under_way];
        if (op->object == number && op->kind == DISK_WRITE)
            write_cut(cut, &image, op, (enum disk_fate)prng_below(cut->prng, DISK_FATES));
    }
    file_write(&image, cut->path[number]);
    free(image.bytes);
}

/* Changes of names come to the platter in their order: of those that are not there for certain, the ones
 * before this operation. */
static size_t names_until(struct cut *cut)
{
    size_t first = cut->under_way + 1;
    for (unsigned n = 0; n < disk.object_n; n++)
        for (size_t i = 0; i < disk.objects[n].pending_n; i++) {
            size_t at = disk.objects[n].pending[i];
            if (at < first && disk.ops[at].kind == DISK_NAME)
                first = at;
        }
    if (cut->mood == NOTHING_KEPT)
        return first;
    return cut->mood == ALL_KEPT ? cut->under_way + 1
                                 : first + (size_t)prng_below(cut->prng, cut->under_way + 2 - first);
}

/* The object's name after this operation, which comes to the platter or not. */
static const char *name_after(struct cut *cut, unsigned number, size_t op_number, bool kept, const char *name)
{
    const struct disk_op *op = &disk.ops[op_number];
    if (op->object != number || op->kind != DISK_NAME)
        return name;
    *(kept ? &cut->tally->names_kept : &cut->tally->names_lost) += 1;
    return kept ? op->name : name;
}

/* Its name: the platter's, or that of one of the changes that are pending. */
static void name_cut(struct cut *cut, unsigned number, size_t until, const char *into)
{
    const struct disk_object *object = &disk.objects[number];
    const char *name = object->named;
    for (size_t i = 0; i < object->pending_n; i++)
        name = name_after(cut, number, object->pending[i], object->pending[i] < until, name);
    if (cut->under_way < disk.op_n)
        name = name_after(cut, number, cut->under_way, cut->under_way < until, name);
    cut->there[number] = number == 0 || (name[0] != '\0' && cut->there[object->parent]);
    const char *above = number == 0 ? into : cut->path[object->parent];
    int n = snprintf(cut->path[number], DISK_PATH_BYTES, number == 0 ? "%s" : "%s/%s", above, name);
    if (n >= DISK_PATH_BYTES)
        disk_die("a path is too long", above);
}

void disk_cut(size_t at, struct prng *prng, const char *into, struct disk_tally *tally)
{
    static struct cut cut;
    if (disk.on || at < disk.reached || at > disk.op_n)
        disk_die("a cut at the wrong time", into);
    reach(at);
    cut = (struct cut){.prng = prng, .tally = tally, .under_way = at};
    cut.mood = (enum mood)prng_below(prng, MOODS);
    tally->cuts++;
    tally->doing[disk.ops[at < disk.op_n ? at : at - 1].doing]++;
    size_t until = names_until(&cut);
    for (unsigned n = 0; n < disk.object_n; n++) {
        name_cut(&cut, n, until, into);
        if (n == 0 || !cut.there[n])
            continue;
        size_t writes = 0;
        for (size_t i = 0; i < disk.objects[n].pending_n; i++)
            writes += disk.ops[disk.objects[n].pending[i]].kind == DISK_WRITE;
        if (!disk.objects[n].directory)
            file_cut(&cut, n, writes);
        else if (mkdir(cut.path[n], 0700) != 0)
            disk_die("cannot make", cut.path[n]);
    }
}
