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

static void on_accepted(struct io_conn *conn, int fd)
{
    struct doorway *way = (struct doorway *)(void *)conn;
    if (fd >= 0) {
        client_create(way->door, way->entrance, fd);
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
    return true;
}

void door_hear(struct inbox_node *node)
{
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
    return door->count == 0;
}

void door_free(struct door *door)
{
    if (door == NULL)
        return;
    free(door->doorways);
    free(door);
}
