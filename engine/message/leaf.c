/* leaf.c - a part without parts: what transfer encoding it goes out in, and its variables. See compile.h.
 *
 * A part is kept as it came when it can be: no variables in it, no line over TEXT_LINE_MAX, nothing 8-bit
 * that is not declared; or whatever it holds, where it and all around it is declared as binary and the caller
 * keeps that. Otherwise it is decoded, and encoded anew: text as quoted-printable or base64, whichever makes
 * less of it, other things as base64. */
#include "engine/base/utf8.h"
#include "engine/message/base64_merge.h"
#include "engine/message/compile.h"
#include "engine/message/decode.h"
#include "engine/message/encode.h"
#include "engine/message/lines.h"
#include "engine/message/merge.h"

struct shape {
    bool long_lines, nul, eight_bit;
};

/* From line feed to line feed, the last within reach each time: of most texts only every tenth is seen. */
static bool may_have_long_lines(struct str text)
{
    const char *at = text.p, *end = text.p + text.n;
    while (end - at > TEXT_LINE_MAX) {
        const char *lf = memrchr(at, '\n', TEXT_LINE_MAX + 1);
        if (lf == NULL)
            return true;
        at = lf + 1;
    }
    return false;
}

static bool has_long_lines(struct str text)
{
    struct lines lines = lines_of(text);
    struct str line;
    bool ended, longer = false;
    while (!longer && lines_next(&lines, &line, &ended))
        longer = line.n > TEXT_LINE_MAX;
    return longer;
}

static struct shape shape_of(struct str text)
{
    struct shape shape = {.long_lines = text.n > 0 && may_have_long_lines(text) && has_long_lines(text)};
    shape.nul = text.n > 0 && memchr(text.p, '\0', text.n) != NULL;
    shape.eight_bit = !utf8_is_ascii(text);
    return shape;
}

static bool is_encoded(const struct leaf *leaf)
{
    return leaf->encoding == ENCODING_QP || leaf->encoding == ENCODING_BASE64;
}

/* The part's content, decoded if need be. */
static bool decode(struct compiler *c, const struct leaf *leaf, struct str *content)
{
    buf_clear(&c->content);
    *content = leaf->body;
    if (!is_encoded(leaf))
        return true;
    bool ok = leaf->encoding == ENCODING_QP ? qp_decode(leaf->body, &c->content)
                                            : base64_decode(leaf->body, &c->content);
    *content = buf_str(&c->content);
    return ok || err_set(c->err, 0, "a part is too large to be decoded");
}

/* Of a charset whose characters have NUL in them, such as UTF-16. */
static bool is_wide(const struct leaf *leaf)
{
    return is_encoded(leaf) && leaf->content.n > 0 && memchr(leaf->content.p, '\0', leaf->content.n) != NULL;
}

static bool is_utf8_or_less(struct str charset)
{
    return charset.n == 0 || str_eq_nocase(charset, STR("us-ascii")) ||
           str_eq_nocase(charset, STR("utf-8")) || str_eq_nocase(charset, STR("utf8"));
}

static bool needs_recoding(const struct compiler *c, const struct leaf *leaf, struct shape shape)
{
    switch (leaf->encoding) {
    case ENCODING_8BIT:
    case ENCODING_UNKNOWN:
        return shape.long_lines || shape.nul || (shape.eight_bit && c->spec->seven_bit);
    case ENCODING_BINARY:
        return true;
    default:
        return shape.long_lines || shape.nul || shape.eight_bit;
    }
}

static bool plan_merged(struct compiler *c, struct leaf *leaf, const char *where)
{
    if (leaf->encoding == ENCODING_UNKNOWN)
        return compile_fail(c, where,
                            "a part with variables has a Content-Transfer-Encoding that is not known");
    if (!is_utf8_or_less(leaf->charset) || !utf8_valid(leaf->content))
        return compile_fail(c, where,
                            "a part with variables is not in UTF-8 (charset \"%.*s\"): convert it to UTF-8 "
                            "before it is submitted",
                            STR_ARG(leaf->charset));
    leaf->form = base64_is_shorter(leaf->content) ? LEAF_MERGED_BASE64 : LEAF_MERGED_QP;
    leaf->declare_utf8 = !str_eq_nocase(leaf->charset, STR("utf-8"));
    return true;
}

/* As it came, byte by byte, for a host with BINARYMIME: for others it is encoded then. */
static bool stays_binary(const struct leaf *leaf)
{
    return leaf->may_be_binary && leaf->encoding == ENCODING_BINARY && !leaf->text;
}

bool leaf_plan(struct compiler *c, struct leaf *leaf, const char *where)
{
    leaf->form = LEAF_KEPT;
    if (c->merge && leaf->text && !leaf->attachment) {
        if (!decode(c, leaf, &leaf->content))
            return false;
        if (merge_has_any(leaf->content))
            return plan_merged(c, leaf, where);
    }
    if (stays_binary(leaf)) {
        leaf->form = LEAF_BINARY;
        c->flags |= RECORD_HAS_BINARY | RECORD_HAS_8BIT;
        return true;
    }
    struct shape shape = shape_of(leaf->body);
    if (!needs_recoding(c, leaf, shape)) {
        c->flags |= shape.eight_bit ? RECORD_HAS_8BIT : 0;
        return true;
    }
    if (leaf->encoding == ENCODING_UNKNOWN)
        return compile_fail(
            c, where,
            "a part has lines over %d octets, NUL or 8-bit octets in a Content-Transfer-Encoding "
            "that is not known",
            TEXT_LINE_MAX);
    if (!decode(c, leaf, &leaf->content))
        return false;
    leaf->form = leaf->text && !is_wide(leaf) && !base64_is_shorter(leaf->content) ? LEAF_QP : LEAF_BASE64;
    leaf->declare_utf8 = leaf->text &&
                         (leaf->charset.n == 0 || str_eq_nocase(leaf->charset, STR("us-ascii"))) &&
                         !utf8_is_ascii(leaf->content) && utf8_valid(leaf->content);
    return true;
}

const char *leaf_encoding(const struct leaf *leaf)
{
    if (leaf->form == LEAF_KEPT || leaf->form == LEAF_BINARY)
        return NULL;
    bool base64 = leaf->form == LEAF_BASE64 || leaf->form == LEAF_MERGED_BASE64;
    return base64 ? "base64" : "quoted-printable";
}

struct str compile_clean_line(struct compiler *c, struct str line)
{
    bool ascii = utf8_is_ascii(line);
    if (line.n == 0 || ((ascii || !c->spec->seven_bit) && memchr(line.p, '\0', line.n) == NULL)) {
        c->flags |= ascii ? 0U : RECORD_HAS_8BIT;
        return line;
    }
    buf_clear(&c->value);
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] != '\0')
            buf_add_char(&c->value, line.p[i] & 0x80 && c->spec->seven_bit ? '?' : line.p[i]);
    c->flags |= ascii || c->spec->seven_bit ? 0U : RECORD_HAS_8BIT;
    return buf_str(&c->value);
}

void compile_lines(struct compiler *c, struct emit *e, struct str text)
{
    struct lines lines = lines_of(text);
    struct str line;
    bool ended;
    while (lines_next(&lines, &line, &ended)) {
        line = compile_clean_line(c, line);
        for (; line.n > TEXT_LINE_MAX; line = str_make(line.p + TEXT_LINE_MAX, line.n - TEXT_LINE_MAX)) {
            emit_text(e, str_make(line.p, TEXT_LINE_MAX));
            emit_line_end(e);
        }
        emit_text(e, line);
        if (ended)
            emit_line_end(e);
    }
}

/* Lines that go out as they are, run after run; what has another line end or begins with a dot alone. */
static void write_kept(struct emit *e, struct str body)
{
    struct lines lines = lines_of(body);
    const char *run = body.p; /* its beginning; it lasts up to the line at hand */
    struct str line;
    bool ended;
    while (lines_next(&lines, &line, &ended)) {
        if (lines.at - (line.p + line.n) == 2 && line.p[0] != '.')
            continue;
        emit_text(e, str_make(run, (size_t)(line.p - run)));
        emit_encoded(e);
        emit_text(e, line);
        if (ended)
            emit_line_end(e);
        run = lines.at;
    }
    emit_text(e, str_make(run, (size_t)(lines.end - run)));
    emit_encoded(e);
}

/* Text becomes lines; what came encoded, or is binary, is taken byte by byte. */
static void write_base64(struct emit *e, const struct leaf *leaf)
{
    struct buf canonical;
    buf_init(&canonical, CONTENT_MAX);
    struct str content = leaf->content;
    if (leaf->text && !is_encoded(leaf)) {
        e->bytes.failed |= !buf_add_text(&canonical, content, false);
        content = buf_str(&canonical);
    } else if (leaf->encoding <= ENCODING_8BIT) {
        struct lines lines = lines_of(content);
        struct str line;
        bool ended;
        while (lines_next(&lines, &line, &ended)) {
            buf_add_str(&canonical, line);
            if (ended)
                buf_add(&canonical, "\r\n", 2);
        }
        content = buf_str(&canonical);
        e->bytes.failed |= canonical.failed;
    }
    if (buf_add_base64(&e->bytes, content) && content.n > 0)
        e->bytes.len -= 2; /* the last line end is the message's or the boundary's */
    emit_encoded(e);
    buf_free(&canonical);
}

/* Text between variables, in quoted-printable. After one the column is not known: the text is laid out as if
 * GUESS more were taken, and render.c puts a soft line break before it where that was not enough. */
static void write_merged_qp(struct emit *e, struct str text, bool after, unsigned *col)
{
    enum { GUESS = 12, TOO_FAR = 60 };
    if (after)
        *col = *col + GUESS > TOO_FAR ? 0 : *col + GUESS;
    buf_add_qp(&e->bytes, text, after, col);
    emit_encoded(e);
}

/* The same in base64: before the first variable it is final, but for the bytes that wait for the next. */
static void write_merged_base64(struct compiler *c, struct emit *e, struct str text, bool after)
{
    buf_clear(&c->value);
    e->bytes.failed |= !buf_add_text(&c->value, text, false);
    text = buf_str(&c->value);
    size_t whole = after ? 0 : text.n - text.n % 3;
    if (whole > 0 && buf_add_base64(&e->bytes, str_make(text.p, whole)))
        e->bytes.len -= 2; /* the line goes on */
    emit_encoded(e);
    emit_base64_text(e, whole > 0 ? str_make(text.p + whole, text.n - whole) : text);
}

static bool add_variable(struct compiler *c, struct emit *e, const struct leaf *leaf,
                         const struct merge_variable *v)
{
    size_t name = names_add(&c->names, v->name, v->fallback.p == NULL);
    if (name == SIZE_MAX)
        return err_set(c->err, 0, "the message has more than %d different variables", TEMPLATE_NAMES_MAX);
    uint8_t flags = (uint8_t)((v->fallback.p ? OP_DEFAULT : 0) | (v->url ? OP_URL : 0) |
                              (leaf->html && !v->unescaped ? OP_HTML : 0));
    uint8_t kind = leaf->form == LEAF_MERGED_BASE64 ? RECORD_BASE64_VALUE : RECORD_VALUE;
    emit_text_op(e, (struct record_op){.kind = kind, .flags = flags, .name = (uint16_t)name}, v->fallback);
    c->variables++;
    return true;
}

/* Names the line of the source, or of the part where that is encoded. */
static bool malformed(struct compiler *c, const struct leaf *leaf, size_t at, const char *where,
                      const char *why)
{
    if (leaf->content.p == leaf->body.p)
        return compile_fail(c, leaf->content.p + at, "%s", why);
    size_t line = 1;
    for (size_t i = 0; i < at; i++)
        line += leaf->content.p[i] == '\n' || (leaf->content.p[i] == '\r' && leaf->content.p[i + 1] != '\n');
    return compile_fail(c, where, "in the encoded part that begins here, at its line %zu: %s", line, why);
}

static bool write_merged(struct compiler *c, struct emit *e, const struct leaf *leaf, const char *where)
{
    struct merge_variable v = {.end = 0};
    unsigned col = 0;
    bool base64 = leaf->form == LEAF_MERGED_BASE64;
    for (bool after = false;; after = true) {
        const char *why;
        size_t at = v.end;
        enum merge_found found = merge_next(leaf->content, at, &v, &why);
        if (found == MERGE_MALFORMED)
            return malformed(c, leaf, v.start, where, why);
        size_t end = found == MERGE_NONE ? leaf->content.n : v.start;
        struct str text = str_make(leaf->content.p + at, end - at);
        if (base64)
            write_merged_base64(c, e, text, after);
        else
            write_merged_qp(e, text, after, &col);
        if (found == MERGE_NONE)
            break;
        if (!add_variable(c, e, leaf, &v))
            return false;
    }
    if (base64)
        emit_op(e, (struct record_op){.kind = RECORD_BASE64_END});
    return true;
}

bool leaf_write(struct compiler *c, struct emit *e, const struct leaf *leaf, const char *where)
{
    unsigned col = 0;
    switch (leaf->form) {
    case LEAF_KEPT:
        write_kept(e, leaf->body);
        return true;
    case LEAF_BINARY:
        buf_add_str(&e->bytes, leaf->body);
        emit_encoded(e);
        return true;
    case LEAF_QP:
        buf_add_qp(&e->bytes, leaf->content, false, &col);
        emit_encoded(e);
        break;
    case LEAF_BASE64:
        write_base64(e, leaf);
        break;
    case LEAF_MERGED_QP:
    case LEAF_MERGED_BASE64:
        if (!write_merged(c, e, leaf, where))
            return false;
        break;
    }
    c->flags |= c->spec->raw.p ? RECORD_RECODED : 0;
    return true;
}
