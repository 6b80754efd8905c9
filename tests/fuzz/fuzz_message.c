/* fuzz_message.c - a raw message with any variables, compiled and rendered: what goes on the wire has
 * CRLF line ends only, lines of bounded length, doubled dots, and header fields that no variable can add
 * to. */
#include "engine/message/template.h"
#include "tests/fuzz/fuzz.h"

struct wire {
    struct buf stuffed, plain;
    bool utf8; /* an address that only SMTPUTF8 carries */
};

static bool render(const struct template *template, const struct render_args *args, struct buf *out,
                   bool *utf8)
{
    struct rendition rendition = {0};
    struct err err;
    bool done = template_render(template, args, &rendition, &err);
    buf_clear(out);
    for (size_t i = 0; done && i < rendition.count; i++)
        CLAIM(buf_add(out, rendition.parts[i].iov_base, rendition.parts[i].iov_len));
    CLAIM(!done || (out->len == rendition.size && rendition.message_size <= rendition.size));
    *utf8 = done && rendition.needs_smtputf8;
    rendition_free(&rendition);
    return done;
}

static void check(struct str stuffed, struct str plain)
{
    size_t at = 0, line = 0;
    CLAIM(plain.n >= 2 && memcmp(plain.p + plain.n - 2, "\r\n", 2) == 0);
    for (size_t i = 0; i < plain.n; i++) {
        if (i == line && plain.p[i] == '.')
            CLAIM(at < stuffed.n && stuffed.p[at++] == '.');
        CLAIM(at < stuffed.n && stuffed.p[at++] == plain.p[i]);
        CLAIM(plain.p[i] != '\0');
        CLAIM(plain.p[i] != '\r' || (i + 1 < plain.n && plain.p[i + 1] == '\n'));
        CLAIM(plain.p[i] != '\n' || (i > 0 && plain.p[i - 1] == '\r'));
        if (plain.p[i] == '\n') {
            CLAIM(i - 1 - line <= TEXT_LINE_MAX);
            line = i + 1;
        }
    }
    CLAIM(at == stuffed.n);
}

/* How many fields of the header begin with this; its lines end at the first empty one. */
static unsigned fields(struct str plain, struct str begin)
{
    unsigned n = 0;
    for (size_t at = 0; at < plain.n && plain.p[at] != '\r';) {
        n += str_starts_nocase(str_make(plain.p + at, plain.n - at), begin);
        size_t end = str_find(plain, '\n', at);
        at = end == SIZE_MAX ? plain.n : end + 1;
    }
    return n;
}

static void try(struct str raw, enum message_merge merge, struct str value, uint8_t how, struct wire *wire)
{
    bool seven_bit = how & 8;
    struct message_spec spec = {.raw = raw,
                                .merge = merge,
                                .seven_bit = seven_bit,
                                .keep_binary = how & 16,
                                .job = STR("J1"),
                                .id_domain = STR("mta.example"),
                                .date_ms = INT64_C(1700000000000)};
    struct buf record;
    struct err err = {0};
    struct template template;
    struct vars_builder vars;
    buf_init(&record, CONTENT_MAX);
    vars_builder_init(&vars);
    if (!template_compile(&spec, &record, &err)) {
        CLAIM(err.text[0] != '\0' && record.len == 0);
    } else {
        CLAIM(template_open(record.data, record.len, &template, &err));
        if (value.n <= VARS_MAX / 2) {
            vars_add(&vars, STR("a"), value, &err);
            vars_add(&vars, STR("b"), STR("\r\nEvil: x\r\n.\r\n"), &err);
        }
        struct render_args args = {
            .vars = vars_blob(&vars), .to = STR("ada@example.com"), .rid = STR("1-2-3"), .job = STR("1")};
        if (render(&template, &args, &wire->stuffed, &wire->utf8)) {
            args.unstuffed = true;
            CLAIM(render(&template, &args, &wire->plain, &wire->utf8));
            CLAIM(!template.info.has_binary || (how & 16 && !seven_bit));
            if (!template.info.has_binary)
                check(buf_str(&wire->stuffed), buf_str(&wire->plain));
            if (str_find(raw, 'E', 0) == SIZE_MAX && str_find(raw, 'e', 0) == SIZE_MAX &&
                str_find(value, 'v', 0) == SIZE_MAX && str_find(value, 'V', 0) == SIZE_MAX)
                CLAIM(fields(buf_str(&wire->plain), STR("Evil:")) == 0);
            CLAIM(!seven_bit || wire->utf8 || merge != MESSAGE_MERGE_NO ||
                  str_is_ascii(buf_str(&wire->plain)));
        }
    }
    vars_builder_free(&vars);
    buf_free(&record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire wire;
    struct str rest = fuzz_rest(data, size);
    uint8_t how = fuzz_byte(&rest);
    struct str value = fuzz_piece(&rest, fuzz_byte(&rest));
    char *raw = fuzz_copy(rest);
    buf_init(&wire.stuffed, RENDITION_MAX);
    buf_init(&wire.plain, RENDITION_MAX);
    try(str_make(raw, rest.n), (enum message_merge)(how % 3), value, how, &wire);
    buf_free(&wire.stuffed);
    buf_free(&wire.plain);
    free(raw);
    return 0;
}
