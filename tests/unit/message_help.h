/* message_help.h - for tests of engine/message: compile, render, and look at what came out. */
#ifndef POSTRIDER_TESTS_MESSAGE_HELP_H
#define POSTRIDER_TESTS_MESSAGE_HELP_H

#include "engine/message/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct made {
    struct buf record, wire, plain; /* the record; the message stuffed, and as it is */
    struct template t;
    struct rendition r;
    struct vars_builder vars;
    struct err err;
};

static inline struct made *made_new(void)
{
    struct made *m = calloc(1, sizeof *m);
    assert_non_null(m);
    buf_init(&m->record, CONTENT_MAX);
    buf_init(&m->wire, RENDITION_MAX);
    buf_init(&m->plain, RENDITION_MAX);
    vars_builder_init(&m->vars);
    return m;
}

static inline void made_free(struct made *m)
{
    buf_free(&m->record);
    buf_free(&m->wire);
    buf_free(&m->plain);
    rendition_free(&m->r);
    vars_builder_free(&m->vars);
    free(m);
}

static inline bool made_compile(struct made *m, struct message_spec spec)
{
    spec.date_ms = INT64_C(1700000000000);
    if (spec.job.p == NULL)
        spec.job = STR("J1");
    if (spec.id_domain.p == NULL)
        spec.id_domain = STR("mta.example");
    buf_clear(&m->record);
    return template_compile(&spec, &m->record, &m->err) &&
           template_open(m->record.data, m->record.len, &m->t, &m->err);
}

static inline void made_set(struct made *m, const char *name, struct str value)
{
    assert_true(vars_add(&m->vars, str_of(name), value, &m->err));
}

static inline bool made_render_one(struct made *m, struct buf *to, bool unstuffed)
{
    struct render_args args = {.vars = vars_blob(&m->vars),
                               .to = STR("ada@example.com"),
                               .rid = STR("J1-2-3"),
                               .id = STR("42"),
                               .job = STR("J1"),
                               .unstuffed = unstuffed};
    if (!template_render(&m->t, &args, &m->r, &m->err))
        return false;
    buf_clear(to);
    for (size_t i = 0; i < m->r.count; i++)
        assert_true(buf_add(to, m->r.parts[i].iov_base, m->r.parts[i].iov_len));
    assert_int_equal(to->len, m->r.size);
    return true;
}

/* Renders both forms and checks what must hold of every message. */
static inline bool made_render(struct made *m)
{
    if (!made_render_one(m, &m->wire, false))
        return false;
    size_t message_size = m->r.message_size;
    assert_true(made_render_one(m, &m->plain, true));
    assert_int_equal(m->r.message_size, m->plain.len);
    assert_int_equal(message_size, m->plain.len);
    assert_true(m->t.info.size <= m->plain.len);
    if (m->t.info.same_for_all)
        assert_int_equal(m->t.info.size, m->plain.len);
    return true;
}

/* Line ends, lengths, dots, and that un-stuffing gives the other form. */
static inline void made_check(const struct made *m)
{
    struct str wire = buf_str(&m->wire), plain = buf_str(&m->plain);
    size_t at = 0, line = 0;
    assert_true(str_ends_nocase(plain, STR("\r\n")));
    for (size_t i = 0; i < plain.n; i++) {
        if (i == line && plain.p[i] == '.')
            assert_true(at < wire.n && wire.p[at++] == '.');
        assert_true(at < wire.n && wire.p[at++] == plain.p[i]);
        assert_true(plain.p[i] != '\0');
        assert_true(plain.p[i] != '\r' || (i + 1 < plain.n && plain.p[i + 1] == '\n'));
        assert_true(plain.p[i] != '\n' || (i > 0 && plain.p[i - 1] == '\r'));
        if (plain.p[i] & 0x80)
            assert_true(m->r.has_8bit);
        if (plain.p[i] == '\n') {
            assert_true(i - 1 - line <= TEXT_LINE_MAX);
            line = i + 1;
        }
    }
    assert_int_equal(at, wire.n);
}

/* The value of the n-th field of that name, unfolded, in a buffer that is the caller's to free; NULL if
 * absent. */
static inline char *made_field(const struct made *m, const char *name, size_t nth)
{
    const char *p = m->plain.data, *end = p + m->plain.len;
    size_t n = strlen(name);
    while (p < end && *p != '\r') {
        const char *stop = p;
        while ((stop = memmem(stop, (size_t)(end - stop), "\r\n", 2)) != NULL &&
               (stop[2] == ' ' || stop[2] == '\t'))
            stop += 2;
        assert_non_null(stop);
        if (strncasecmp(p, name, n) == 0 && p[n] == ':' && nth-- == 0) {
            char *value = calloc(1, (size_t)(stop - p)), *to = value;
            for (p += n + 1 + (p[n + 1] == ' '); p < stop; p++)
                if (*p != '\r' && *p != '\n')
                    *to++ = *p;
            return value;
        }
        p = stop + 2;
    }
    return NULL;
}

static inline void made_expect_field(const struct made *m, const char *name, const char *want)
{
    char *value = made_field(m, name, 0);
    if (want == NULL)
        assert_null(value);
    else if (value == NULL)
        fail_msg("no field %s", name);
    else
        assert_string_equal(value, want);
    free(value);
}

/* What follows the header. */
static inline struct str made_body(const struct made *m)
{
    const char *blank = memmem(m->plain.data, m->plain.len, "\r\n\r\n", 4);
    assert_non_null(blank);
    return str_make(blank + 4, (size_t)(m->plain.data + m->plain.len - blank - 4));
}

static inline void made_expect_body(const struct made *m, const char *want)
{
    char *body = str_dup(made_body(m));
    assert_string_equal(body, want);
    free(body);
}

#endif
