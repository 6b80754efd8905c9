/* door.c - see door.h. */
#include "engine/submission/door.h"

#include "engine/submission/client.h"

#include <errno.h>
#include <stdlib.h>

#define DEAF_MS 100 /* while there are no descriptors for more connections */

/* A listener as this worker accepts from it. */
struct doorway {
    struct io_conn conn; /* first */
    struct door *door;
    struct entrance *entrance;
    struct wheel_timer timer;
    bool open;
};

static void on_deaf_over(struct wheel_timer *timer, struct now now)
{
    struct doorway *way = (struct doorway *)(void *)((char *)timer - offsetof(struct doorway, timer));
    (void)now;
    io_receive(way->door->settings.io, &way->conn);
}

/* A client on its way to another door. */
struct visitor {
    struct inbox_node node;
    struct entrance *entrance;
    int fd;
};

static struct doorplate *doorplate(const struct door *door)
{
    return &door->settings.submission->doors[door->settings.index];
}

void door_leave(struct door *door)
{
    atomic_fetch_sub(&doorplate(door)->count, 1);
}

/* The door with the fewest clients; this one, if there are as few. */
static struct doorplate *choose(const struct door *door)
{
    struct submission *submission = door->settings.submission;
    struct doorplate *best = doorplate(door);
    for (size_t i = 0; i < SUBMISSION_DOORS_MAX && atomic_load(&submission->doors[i].inbox) != NULL; i++)
        if (atomic_load(&submission->doors[i].count) < atomic_load(&best->count))
            best = &submission->doors[i];
    return best;
}

/* Its place there is taken first: that door stays until whoever is counted has come. */
static bool send_on(const struct door *door, struct entrance *entrance, int fd)
{
    struct doorplate *there = choose(door);
    struct visitor *visitor = there != doorplate(door) ? malloc(sizeof *visitor) : NULL;
    if (visitor == NULL)
        return false;
    atomic_fetch_add(&there->count, 1);
    struct inbox *inbox = atomic_load(&there->inbox);
    if (inbox == NULL) {
        atomic_fetch_sub(&there->count, 1);
        free(visitor);
        return false;
    }
    *visitor = (struct visitor){.node.kind = DOOR_VISITOR, .entrance = entrance, .fd = fd};
    inbox_post(inbox, &visitor->node);
    return true;
}

static void let_in(struct door *door, struct entrance *entrance, int fd)
{
    if (door->stopping) {
        io_discard(fd);
        door_leave(door);
    } else {
        client_create(door, entrance, fd);
    }
}

static void on_accepted(struct io_conn *conn, int fd)
{
    struct doorway *way = (struct doorway *)(void *)conn;
    if (fd >= 0 && send_on(way->door, way->entrance, fd))
        return;
    if (fd >= 0) {
        atomic_fetch_add(&doorplate(way->door)->count, 1);
        let_in(way->door, way->entrance, fd);
        return;
    }
    wheel_set(way->door->settings.wheel, &way->timer, way->door->settings.now->mono_ns + DEAF_MS * NS_PER_MS,
              on_deaf_over);
}

static void on_closed(struct io_conn *conn)
{
    ((struct doorway *)(void *)conn)->open = false;
}

static const struct io_handlers handlers = {.accepted = on_accepted, .closed = on_closed};

static size_t entrance_count(const struct door *door)
{
    return door->settings.submission != NULL ? door->settings.submission->count : 0;
}

struct door *door_create(const struct door_settings *settings, struct err *err)
{
    struct door *door = calloc(1, sizeof *door);
    if (door == NULL) {
        err_set(err, ENOMEM, "no memory for the listeners");
        return NULL;
    }
    door->settings = *settings;
    LIST_INIT(&door->clients);
    door->doorways = calloc(entrance_count(door) + 1, sizeof *door->doorways);
    if (door->doorways != NULL)
        return door;
    free(door);
    err_set(err, ENOMEM, "no memory for the listeners");
    return NULL;
}

bool door_open(struct door *door, struct err *err)
{
    for (size_t i = 0; i < entrance_count(door); i++) {
        struct doorway *way = &door->doorways[i];
        way->door = door;
        way->entrance = &door->settings.submission->entrances[i];
        way->conn.handlers = &handlers;
        int failed = io_accept(door->settings.io, &way->conn, way->entrance->fd);
        if (failed != 0)
            return err_set(err, -failed, "cannot accept on %s: %s", way->entrance->config->listen,
                           strerror(-failed));
        way->open = true;
    }
    if (entrance_count(door) > 0)
        atomic_store(&doorplate(door)->inbox, door->settings.inbox);
    return true;
}

void door_hear(struct door *door, struct inbox_node *node)
{
    if (node->kind == DOOR_VISITOR) {
        struct visitor *visitor = (struct visitor *)(void *)node;
        let_in(door, visitor->entrance, visitor->fd);
        free(visitor);
        return;
    }
    client_back((struct client *)(void *)((char *)node - offsetof(struct client, node)));
}

void door_close(struct door *door)
{
    for (size_t i = 0; i < entrance_count(door); i++) {
        struct doorway *way = &door->doorways[i];
        wheel_cancel(door->settings.wheel, &way->timer);
        if (way->open)
            io_close(door->settings.io, &way->conn);
    }
}

void door_stop(struct door *door, bool hard)
{
    door->stopping = true;
    if (entrance_count(door) > 0) {
        atomic_store(&door->settings.submission->stopping, true);
        atomic_store(&doorplate(door)->inbox, NULL);
    }
    door_close(door);
    struct client *client = LIST_FIRST(&door->clients), *next;
    for (; client != NULL; client = next) {
        next = LIST_NEXT(client, list);
        client_stop(client, hard);
    }
}

bool door_is_empty(const struct door *door)
{
    for (size_t i = 0; i < entrance_count(door); i++)
        if (door->doorways[i].open)
            return false;
    return entrance_count(door) == 0 || atomic_load(&doorplate(door)->count) == 0;
}

void door_free(struct door *door)
{
    if (door == NULL)
        return;
    free(door->doorways);
    free(door);
}
