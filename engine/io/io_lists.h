/* io_lists.h - what waits inside a struct io: written by io_conn.c when an owner asks for something, worked
 * off by io.c at the next step. Nobody else includes it. */
#ifndef POSTRIDER_IO_IO_LISTS_H
#define POSTRIDER_IO_IO_LISTS_H

#include "engine/io/io.h"

enum io_want { IO_WANT_CONNECT = 1, IO_WANT_SEND = 2, IO_WANT_CANCEL = 4, IO_WANT_CANCEL_RECEIVE = 8 };

struct io_lists {
    struct io_conn *todo, **todo_tail; /* connections with something to hand to the kernel */
    struct io_conn *ended;             /* closing, nothing pending: owed a `closed` */
    struct io_conn *open;              /* all until their `closed` */
    struct io_poll *poll_todo, *poll_ended;
    struct io_poll *open_polls; /* all that are not idle */
};

static inline struct io_lists *io_lists(struct io *io)
{
    return (struct io_lists *)(void *)io;
}

static inline void io_conn_list(struct io_lists *lists, struct io_conn *conn)
{
    if (conn->listed)
        return;
    conn->listed = true;
    conn->next = NULL;
    *lists->todo_tail = conn;
    lists->todo_tail = &conn->next;
}

static inline void io_conn_want(struct io_lists *lists, struct io_conn *conn, enum io_want want)
{
    conn->wants |= (uint8_t)want;
    io_conn_list(lists, conn);
}

static inline void io_conn_open(struct io_lists *lists, struct io_conn *conn)
{
    conn->open = true;
    conn->next_open = lists->open;
    if (conn->next_open != NULL)
        conn->next_open->back_open = &conn->next_open;
    conn->back_open = &lists->open;
    lists->open = conn;
}

static inline void io_conn_unlink(struct io_conn *conn)
{
    *conn->back_open = conn->next_open;
    if (conn->next_open != NULL)
        conn->next_open->back_open = conn->back_open;
}

static inline void io_conn_reset(struct io_conn *conn)
{
    const struct io_handlers *handlers = conn->handlers;
    *conn = (struct io_conn){.handlers = handlers, .fd = -1};
}

static inline void io_poll_list(struct io_lists *lists, struct io_poll *poll)
{
    if (poll->listed)
        return;
    poll->listed = true;
    poll->pending++;
    poll->next = lists->poll_todo;
    lists->poll_todo = poll;
}

static inline void io_poll_open(struct io_lists *lists, struct io_poll *poll)
{
    poll->next_open = lists->open_polls;
    if (poll->next_open != NULL)
        poll->next_open->back_open = &poll->next_open;
    poll->back_open = &lists->open_polls;
    lists->open_polls = poll;
}

static inline void io_poll_unlink(struct io_poll *poll)
{
    *poll->back_open = poll->next_open;
    if (poll->next_open != NULL)
        poll->next_open->back_open = poll->back_open;
}

#endif
