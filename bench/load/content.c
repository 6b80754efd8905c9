/* content.c - see content.h.
 *
 * Each form of head and body is compiled once into a program: constant text, cut into pieces, each followed
 * by one field that depends on the number. Rendering walks the pieces. Where every field has one width, its
 * place in the text is constant too, and a patch writes the fields alone. */
#include "bench/load/content.h"

#include "engine/base/buf.h"

#include <errno.h>
#include <stdlib.h>

#define LINE_SIZE   72 /* of the body, with its CRLF */
#define MERGE_LINES 12 /* one line in so many names the recipient */
#define WORD_SIZE   8

enum field { FIELD_NONE, FIELD_TO, FIELD_NAME, FIELD_NUMBER, FIELD_NUMBER_WIDE, FIELD_WORD };

struct piece {
    size_t from, n;   /* of the program's text */
    size_t field_at;  /* in a rendition, if all fields before have one width */
    enum field field; /* what follows the text */
};

struct program {
    struct buf text, pieces;
    size_t cut;   /* text up to here is in pieces */
    size_t max;   /* bytes of a rendition at most */
    size_t plain; /* bytes of a plain one with fields of common width */
    enum content_form form;
};

struct content {
    enum content_kind kind;
    const struct domains *domains;
    struct program head[CONTENT_FORMS], body[CONTENT_FORMS];
};

static const char *const names[] = {"Ada",  "Ben",   "Carla", "Dmitri", "Elif",  "Femi", "Grace", "Hannah",
                                    "Ines", "Jonas", "Kaveh", "Lotte",  "Mbali", "Noor", "Oskar", "Priyanka"};

/* Lines of 70 characters where %w is a word of eight letters. */
static const char *const lines[] = {
    "%w left the harbour at dawn with sacks of letters under the deck,",
    "%w had counted them twice, and the mate had signed for every one.",
    "%w stood on the quay until the sail was small, then walked home,",
    "%w wrote to the others that evening that nothing had been lost,",
    "%w answered within the week, in a hand that was hard to make out:",
    "%w the road over the pass is open, and riders change at each inn,",
    "%w so that what is given to them on Monday is read by Wednesday.",
    "%w keeps the book in which each arrival stands with day and hour.",
};

/* Steps of a small generator: cheap, and different for every number and place. */
static uint64_t word_seed(uint64_t number)
{
    uint64_t x = number * UINT64_C(0x9E3779B97F4A7C15) + UINT64_C(0xD1B54A32D192ED03);
    x ^= x >> 29;
    return x * UINT64_C(0xBF58476D1CE4E5B9);
}

static void word_put(char *to, uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    uint64_t letters =
        UINT64_C(0x6161616161616161) + ((*state ^ *state >> 29) & UINT64_C(0x0F0F0F0F0F0F0F0F));
    memcpy(to, &letters, WORD_SIZE);
}

size_t content_name(uint64_t number, char *to)
{
    const char *name = names[(number * UINT64_C(0x9E3779B97F4A7C15)) >> 60];
    size_t n = strlen(name);
    memcpy(to, name, n);
    return n;
}

static size_t field_put(const struct content *content, enum field field, uint64_t number, uint64_t *state,
                        char *to)
{
    switch (field) {
    case FIELD_TO:
        return address_put(content->domains, number, to);
    case FIELD_NAME:
        return content_name(number, to);
    case FIELD_NUMBER:
        return number_put(to, number, 1);
    case FIELD_NUMBER_WIDE:
        return number_put(to, number, ADDRESS_NUMBER_SIZE);
    case FIELD_WORD:
        word_put(to, state);
        return WORD_SIZE;
    case FIELD_NONE:
        break;
    }
    return 0;
}

static size_t field_max(enum field field)
{
    static const size_t max[] = {
        0, ADDRESS_SIZE, CONTENT_NAME_MAX, ADDRESS_NUMBER_SIZE, ADDRESS_NUMBER_SIZE, WORD_SIZE};
    return max[field];
}

static void piece_end(struct program *program, enum field field)
{
    struct piece piece = {program->cut, program->text.len - program->cut, program->max, field};
    buf_add(&program->pieces, &piece, sizeof piece);
    program->max += field_max(field);
    program->cut = program->text.len;
}

/* A field as text of the program: what never changes, or a variable's name in a template. */
static void field_text(struct program *program, struct str text)
{
    buf_add_str(&program->text, text);
    program->max += text.n;
}

static void field_add(const struct content *content, struct program *program, char letter, uint64_t *state)
{
    static const struct {
        char letter;
        enum field field;
        struct str variable;
        size_t plain;
    } all[] = {
        {'t', FIELD_TO, {"{{to}}", 6}, 0},          {'a', FIELD_NAME, {"{{name}}", 8}, 5},
        {'n', FIELD_NUMBER, {"{{number}}", 10}, 6}, {'N', FIELD_NUMBER_WIDE, {"", 0}, ADDRESS_NUMBER_SIZE},
        {'w', FIELD_WORD, {"", 0}, WORD_SIZE},
    };
    size_t i = 0;
    while (all[i].letter != letter)
        i++;
    char common[ADDRESS_SIZE];
    program->plain += all[i].field == FIELD_TO ? address_put(content->domains, 0, common) : all[i].plain;
    if (all[i].field == FIELD_WORD && content->kind != CONTENT_DISTINCT) {
        word_put(common, state); /* the same for all numbers */
        field_text(program, str_make(common, WORD_SIZE));
    } else if (program->form == CONTENT_TEMPLATE) {
        field_text(program, all[i].variable);
    } else {
        piece_end(program, all[i].field);
    }
}

/* Compiles a line: %t to, %a name, %n number, %N number in ten digits, %w word; CRLF is added. */
static void line_add(const struct content *content, struct program *program, const char *line, size_t n,
                     uint64_t *state)
{
    static const struct str ends[CONTENT_FORMS] = {{"\r\n", 2}, {"\r\n", 2}, {"\\r\\n", 4}, {"\\r\\n", 4}};
    if (program->form == CONTENT_WIRE && n && *line == '.')
        field_text(program, STR("."));
    for (size_t i = 0; i < n; i++) {
        if (line[i] == '%') {
            field_add(content, program, line[++i], state);
        } else {
            buf_add_char(&program->text, line[i]);
            program->max++;
            program->plain++;
        }
    }
    field_text(program, ends[program->form]);
    program->plain += 2;
}

static void head_compile(const struct content *content, struct program *program)
{
    static const char *const texts[][8] = {
        [CONTENT_MERGED] = {"From: Bench <news@bench.test>", "To: %t", "Subject: %a, number %n is yours",
                            "Date: Thu, 01 Jan 2026 00:00:00 +0000", "Message-ID: <merged.%n@bench.test>"},
        [CONTENT_UNMERGED] = {"From: Bench <news@bench.test>", "To: readers@bench.test",
                              "Subject: The same for all of you", "Date: Thu, 01 Jan 2026 00:00:00 +0000",
                              "Message-ID: <unmerged@bench.test>"},
        [CONTENT_DISTINCT] = {"From: Bench <news@bench.test>", "To: %t", "Subject: Order %N for %w",
                              "Date: Thu, 01 Jan 2026 00:00:00 +0000", "Message-ID: <%N.%w@bench.test>"},
    };
    static const char *const rest[][3] = {
        [CONTENT_MERGED] = {"MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8",
                            "Content-Transfer-Encoding: quoted-printable"},
        [CONTENT_UNMERGED] = {"MIME-Version: 1.0", "Content-Type: text/plain; charset=us-ascii"},
        [CONTENT_DISTINCT] = {"MIME-Version: 1.0", "Content-Type: text/plain; charset=us-ascii"},
    };
    uint64_t state = 0;
    for (const char *const *line = texts[content->kind]; *line; line++)
        line_add(content, program, *line, strlen(*line), &state);
    for (size_t i = 0; i < sizeof *rest / sizeof **rest && rest[content->kind][i]; i++)
        line_add(content, program, rest[content->kind][i], strlen(rest[content->kind][i]), &state);
    piece_end(program, FIELD_NONE);
}

/* Lines until all of it, with a head of common length, is `size` bytes. */
static void body_compile(const struct content *content, struct program *program, size_t size)
{
    static const char *const greetings[] = {"Dear *%a*,", "Dear reader,", "Your order %N is on its way."};
    static const char merge_line[] = "For *%a*: https://bench.test/n/%n and nobody else.";
    static const char dot_line[] = ".This line begins with a dot, which must arrive as one.";
    static const char filler[] = "......................................................................";
    uint64_t state = word_seed(0);
    line_add(content, program, "", 0, &state);
    line_add(content, program, greetings[content->kind], strlen(greetings[content->kind]), &state);
    if (content->kind != CONTENT_MERGED)
        line_add(content, program, dot_line, sizeof dot_line - 1, &state);
    for (size_t i = 1; program->plain + 2 * (size_t)LINE_SIZE < size; i++) {
        bool merge = content->kind == CONTENT_MERGED && i % MERGE_LINES == 0;
        const char *line = merge ? merge_line : lines[i % (sizeof lines / sizeof *lines)];
        line_add(content, program, line, strlen(line), &state);
    }
    /* One or two more, of dots behind a letter, to the exact size. */
    while (program->plain + 3 <= size) {
        size_t left = size - program->plain, n = left <= LINE_SIZE ? left : left / 2;
        char last[LINE_SIZE];
        memcpy(last, filler, n - 2);
        last[0] = 'x';
        line_add(content, program, last, n - 2, &state);
    }
    piece_end(program, FIELD_NONE);
}

static bool programs_compile(struct content *content, size_t size)
{
    bool ok = true;
    for (int form = 0; form < CONTENT_FORMS; form++) {
        struct program *head = &content->head[form], *body = &content->body[form];
        head->form = body->form = (enum content_form)form;
        head_compile(content, head);
        body_compile(content, body, size - head->plain);
        ok = ok && !head->text.failed && !head->pieces.failed && !body->text.failed && !body->pieces.failed;
    }
    return ok;
}

struct content *content_create(enum content_kind kind, const struct domains *domains, uint64_t size,
                               struct err *err)
{
    if (size < CONTENT_SIZE_MIN || size > CONTENT_SIZE_MAX) {
        err_set(err, EINVAL, "a message has %d to %d bytes", CONTENT_SIZE_MIN, CONTENT_SIZE_MAX);
        return NULL;
    }
    struct content *content = calloc(1, sizeof *content);
    if (content == NULL) {
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    content->kind = kind;
    content->domains = domains;
    for (int form = 0; form < CONTENT_FORMS; form++) {
        struct buf *const bufs[] = {&content->head[form].text, &content->head[form].pieces,
                                    &content->body[form].text, &content->body[form].pieces};
        for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
            buf_init(bufs[i], 2 * (size_t)CONTENT_SIZE_MAX);
    }
    if (programs_compile(content, size))
        return content;
    content_free(content);
    err_set(err, ENOMEM, "out of memory");
    return NULL;
}

void content_free(struct content *content)
{
    for (int form = 0; content && form < CONTENT_FORMS; form++) {
        buf_free(&content->head[form].text);
        buf_free(&content->head[form].pieces);
        buf_free(&content->body[form].text);
        buf_free(&content->body[form].pieces);
    }
    free(content);
}

bool content_kind_parse(const char *text, enum content_kind *kind, struct err *err)
{
    static const char *const kinds[] = {"merged", "unmerged", "distinct"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        *kind = (enum content_kind)i;
        if (strcmp(text, kinds[i]) == 0)
            return true;
    }
    return err_set(err, EINVAL, "'%s' is no kind of content: merged, unmerged or distinct", text);
}

static size_t render(const struct content *content, const struct program *program, uint64_t number, char *to)
{
    const struct piece *piece = (const struct piece *)(const void *)program->pieces.data;
    const struct piece *end = piece + program->pieces.len / sizeof *piece;
    uint64_t state = word_seed(number);
    char *p = to;
    for (; piece < end; piece++) {
        memcpy(p, program->text.data + piece->from, piece->n);
        p += piece->n;
        p += field_put(content, piece->field, number, &state, p);
    }
    return (size_t)(p - to);
}

size_t content_head(const struct content *content, enum content_form form, uint64_t number, char *to)
{
    return render(content, &content->head[form], number, to);
}

size_t content_body_max(const struct content *content, enum content_form form)
{
    return content->body[form].max;
}

bool content_fixed(const struct content *content)
{
    return content->kind != CONTENT_MERGED;
}

size_t content_body(const struct content *content, enum content_form form, uint64_t number, char *to)
{
    return render(content, &content->body[form], number, to);
}

void content_patch(const struct content *content, enum content_form form, uint64_t number, char *to)
{
    const struct program *program = &content->body[form];
    const struct piece *piece = (const struct piece *)(const void *)program->pieces.data;
    const struct piece *end = piece + program->pieces.len / sizeof *piece;
    uint64_t state = word_seed(number);
    for (; piece < end; piece++)
        field_put(content, piece->field, number, &state, to + piece->field_at);
}
