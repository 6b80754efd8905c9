/* envelope.c - see envelope.h. */
#include "bench/load/envelope.h"

#include <stdio.h>
#include <stdlib.h>

#define COMMANDS_SIZE 256 /* of all but RCPT */
#define RCPT_SIZE     (ADDRESS_SIZE + 16)

bool envelope_init(struct envelope_writer *writer, const struct content *content,
                   const struct domains *domains, uint32_t recipients, bool chunked)
{
    *writer = (struct envelope_writer){
        .content = content, .domains = domains, .recipients = recipients, .chunked = chunked};
    size_t commands = COMMANDS_SIZE + (size_t)recipients * RCPT_SIZE;
    size_t before = CONTENT_HEAD_MAX + (chunked ? commands : 0);
    writer->memory = malloc(before + content_body_max(content, CONTENT_WIRE) + commands);
    writer->body = writer->memory + before;
    return writer->memory != NULL;
}

void envelope_free(struct envelope_writer *writer)
{
    free(writer->memory);
    *writer = (struct envelope_writer){0};
}

static char *end_of(struct envelope_writer *writer)
{
    return writer->from + writer->n;
}

static void add(struct envelope_writer *writer, const char *text, size_t n)
{
    memcpy(end_of(writer), text, n);
    writer->n += n;
}

void envelope_clear(struct envelope_writer *writer)
{
    /* Behind where a body ends, so that it stays there to be patched. */
    writer->from = writer->body + content_body_max(writer->content, CONTENT_WIRE);
    writer->n = 0;
}

static void put_message(struct envelope_writer *writer, uint64_t number)
{
    enum content_form form = writer->chunked ? CONTENT_PLAIN : CONTENT_WIRE;
    char head[CONTENT_HEAD_MAX];
    size_t head_n = content_head(writer->content, form, number, head);
    size_t body_n = content_body_max(writer->content, form);
    if (writer->body_there)
        content_patch(writer->content, form, number, writer->body);
    else
        body_n = content_body(writer->content, form, number, writer->body);
    writer->body_there = content_fixed(writer->content);
    memcpy(writer->body - head_n, head, head_n);
    writer->from = writer->body - head_n;
    writer->n = head_n + body_n;
}

void envelope_message(struct envelope_writer *writer, uint64_t number)
{
    put_message(writer, number);
    add(writer, ".\r\n", 3);
}

static void add_group(struct envelope_writer *writer, uint64_t first)
{
    static const char mail[] = "MAIL FROM:<" CONTENT_SENDER ">\r\n";
    add(writer, mail, sizeof mail - 1);
    for (uint32_t i = 0; i < writer->recipients; i++) {
        add(writer, "RCPT TO:<", 9);
        writer->n += address_put(writer->domains, first + i, end_of(writer));
        add(writer, ">\r\n", 3);
    }
}

void envelope_begin(struct envelope_writer *writer, uint64_t first)
{
    add_group(writer, first);
    add(writer, "DATA\r\n", 6);
}

void envelope_whole(struct envelope_writer *writer, uint64_t first)
{
    put_message(writer, first);
    size_t size = writer->n;
    add_group(writer, first);
    writer->n += (size_t)snprintf(end_of(writer), COMMANDS_SIZE, "BDAT %zu LAST\r\n", size);
    size_t group = writer->n - size;
    memcpy(writer->from - group, writer->from + size, group);
    writer->from -= group;
}

void envelope_add(struct envelope_writer *writer, struct str command)
{
    add(writer, command.p, command.n);
}
