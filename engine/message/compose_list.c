/* compose_list.c - the fields made of `list` (RFC 2369, 2919), `unsubscribe` (RFC 8058) and `priority`. See
 * compile.h.
 *
 * A field's entries are written as "<uri> (comment), <uri>", and then treated as if the job had given that
 * text in `headers`: variables in a URI are percent-encoded, comments encoded as RFC 2047 asks. */
#include "engine/message/compile.h"
#include "engine/message/merge.h"

static const struct str unsubscribe_name = {"List-Unsubscribe", 16},
                        post_name = {"List-Unsubscribe-Post", 21};

static bool has_unsubscribe(const struct message_spec *spec)
{
    return spec->unsubscribe_url.p != NULL || spec->unsubscribe_mailto.p != NULL;
}

bool compose_list_has(const struct message_spec *spec, struct str name)
{
    for (size_t i = 0; i < spec->list_count; i++)
        if (str_eq_nocase(name, str_of(spec->list[i].name)))
            return true;
    return has_unsubscribe(spec) && (str_eq_nocase(name, unsubscribe_name) || str_eq_nocase(name, post_name));
}

/* Nothing that would end the brackets it stands in, or is no part of a URI or id, variables aside. */
static bool check_bracketed(struct compiler *c, const char *what, struct str s)
{
    struct merge_variable v;
    const char *why;
    size_t next = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (c->merge && i == next) {
            bool found = merge_next(s, i, &v, &why) == MERGE_VARIABLE;
            next = found ? v.start : SIZE_MAX;
            if (found && v.start == i) {
                next = v.end;
                i = v.end - 1;
                continue;
            }
        }
        if ((s.p[i] >= 0 && s.p[i] <= ' ') || s.p[i] == 0x7f || s.p[i] == '<' || s.p[i] == '>')
            return err_set(c->err, 0, "%s: \"%.*s\" holds white space or one of < >: percent-encode it", what,
                           s.n > 100 ? 100 : (int)s.n, s.p);
    }
    return s.n > 0 || err_set(c->err, 0, "%s is empty", what);
}

static bool has_scheme(struct str url)
{
    size_t colon = str_find(url, ':', 0);
    for (size_t i = 0; i < url.n && i < colon; i++)
        if (!((url.p[i] >= 'a' && url.p[i] <= 'z') || (url.p[i] >= 'A' && url.p[i] <= 'Z') ||
              (i > 0 && strchr("0123456789+-.", url.p[i]) != NULL)))
            return false;
    return colon != SIZE_MAX && colon > 0;
}

/* "<uri>"; a mail address becomes one. What begins with a variable may be anything. */
static bool add_uri(struct compiler *c, struct buf *value, const char *what, struct str url)
{
    struct merge_variable v;
    const char *why;
    bool open = c->merge && merge_next(url, 0, &v, &why) == MERGE_VARIABLE && v.start == 0;
    bool address = !open && !has_scheme(url) && str_find(url, '@', 0) != SIZE_MAX;
    if (!check_bracketed(c, what, url))
        return false;
    if (!open && !address && !has_scheme(url))
        return err_set(c->err, 0, "%s: \"%.*s\" is no URL: it begins with https:// or mailto:", what,
                       url.n > 100 ? 100 : (int)url.n, url.p);
    buf_add_z(value, address ? "<mailto:" : "<");
    buf_add_str(value, url);
    return buf_add_char(value, '>');
}

/* Between two of these, with a backslash before what would end it. */
static void add_quoted(struct buf *value, char open, char close, struct str s)
{
    buf_add_char(value, open);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == open || s.p[i] == close || s.p[i] == '\\')
            buf_add_char(value, '\\');
        buf_add_char(value, s.p[i]);
    }
    buf_add_char(value, close);
}

static bool add_entry(struct compiler *c, struct buf *value, const struct message_list *entry)
{
    if (str_eq(str_of(entry->name), STR("List-Id"))) {
        if (!check_bracketed(c, entry->name, entry->url))
            return false;
        if (entry->comment.n > 0)
            add_quoted(value, '"', '"', entry->comment);
        buf_add_z(value, entry->comment.n > 0 ? " <" : "<");
        buf_add_str(value, entry->url);
        return buf_add_char(value, '>');
    }
    if (str_eq(str_of(entry->name), STR("List-Post")) && str_eq(entry->url, STR("NO")))
        buf_add_z(value, "NO"); /* RFC 2369 3.4 */
    else if (!add_uri(c, value, entry->name, entry->url))
        return false;
    if (entry->comment.n > 0) {
        buf_add_char(value, ' ');
        add_quoted(value, '(', ')', entry->comment);
    }
    return true;
}

static bool write_value(struct compiler *c, struct str name, const struct buf *value)
{
    if (value->failed)
        return err_set(c->err, 0, "%.*s is too large", STR_ARG(name));
    struct field_type type = field_type_of(name);
    return compose_field(c, name, buf_str(value), type.kind, type.id);
}

static bool add_lists(struct compiler *c, struct buf *value)
{
    const struct message_list *list = c->spec->list;
    for (size_t i = 0; i < c->spec->list_count; i++) {
        bool first = i == 0 || strcmp(list[i].name, list[i - 1].name) != 0;
        bool last = i + 1 == c->spec->list_count || strcmp(list[i].name, list[i + 1].name) != 0;
        if (first)
            buf_clear(value);
        else
            buf_add_z(value, ", ");
        if (!add_entry(c, value, &list[i]) || (last && !write_value(c, str_of(list[i].name), value)))
            return false;
    }
    return true;
}

/* RFC 8058 wants one HTTPS URI, and the field that says that a POST to it is enough. */
static bool add_one_click(struct compiler *c)
{
    const struct message_spec *spec = c->spec;
    struct str url = spec->unsubscribe_url;
    bool https = str_starts_nocase(url, STR("https://")) || (c->merge && str_starts(url, STR("{{")));
    if (spec->one_click == MESSAGE_ONE_CLICK_NO || (spec->one_click == MESSAGE_ONE_CLICK_AUTO && !https))
        return true;
    if (!https)
        return err_set(c->err, 0, "unsubscribe: \"one_click\" needs a \"url\" that begins with https://");
    return compose_field(c, post_name, STR("List-Unsubscribe=One-Click"), FIELD_RAW, ID_OTHER);
}

static bool add_unsubscribe(struct compiler *c, struct buf *value)
{
    const struct message_spec *spec = c->spec;
    for (size_t i = 0; i < spec->list_count; i++)
        if (str_eq(str_of(spec->list[i].name), unsubscribe_name))
            return err_set(c->err, 0, "list: \"unsubscribe\" stands beside the message's own: keep one");
    buf_clear(value);
    if (spec->unsubscribe_url.p != NULL && !add_uri(c, value, "unsubscribe: url", spec->unsubscribe_url))
        return false;
    if (spec->unsubscribe_url.p != NULL && spec->unsubscribe_mailto.p != NULL)
        buf_add_z(value, ", ");
    if (spec->unsubscribe_mailto.p != NULL && has_scheme(spec->unsubscribe_mailto) &&
        !str_starts_nocase(spec->unsubscribe_mailto, STR("mailto:")))
        return err_set(c->err, 0, "unsubscribe: \"mailto\" is a mail address, or begins with mailto:");
    if (spec->unsubscribe_mailto.p != NULL &&
        !add_uri(c, value, "unsubscribe: mailto", spec->unsubscribe_mailto))
        return false;
    return write_value(c, unsubscribe_name, value) && add_one_click(c);
}

bool compose_list(struct compiler *c)
{
    struct buf value;
    buf_init(&value, CONTENT_MAX);
    bool ok = add_lists(c, &value) && (!has_unsubscribe(c->spec) || add_unsubscribe(c, &value));
    buf_free(&value);
    if (!ok || c->spec->priority == MESSAGE_PRIORITY_UNSET)
        return ok;
    bool high = c->spec->priority == MESSAGE_PRIORITY_HIGH;
    compile_plain_field(&c->head, high ? "Importance: high" : "Importance: low");
    compile_plain_field(&c->head, high ? "X-Priority: 1" : "X-Priority: 5");
    return true;
}
