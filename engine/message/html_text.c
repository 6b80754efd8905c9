/* html_text.c - see html_text.h. A walk over libxml2's events: no tree is built.
 *
 * White space waits: a blank or a number of line ends is written only when something follows, so that none
 * stands at the end of a line, at the beginning or at the end. */
#include "engine/message/html_text.h"

#include "engine/limits.h"

#include <libxml/HTMLparser.h>
#include <pthread.h>

#define HREF_MAX 8192 /* a longer address is not shown */

enum element {
    INLINE,
    BLOCK,     /* on lines of its own */
    PARAGRAPH, /* and with an empty line around it */
    ITEM,
    CELL,
    BREAK,
    RULE,
    QUOTE,
    PREFORMATTED,
    LINK,
    PICTURE,
    HIDDEN,
};

static const struct {
    const char *name;
    enum element is;
} elements[] = {
    {"a", LINK},           {"address", BLOCK},     {"article", PARAGRAPH}, {"aside", PARAGRAPH},
    {"blockquote", QUOTE}, {"br", BREAK},          {"caption", BLOCK},     {"center", BLOCK},
    {"dd", BLOCK},         {"div", BLOCK},         {"dl", PARAGRAPH},      {"dt", BLOCK},
    {"figcaption", BLOCK}, {"figure", PARAGRAPH},  {"footer", PARAGRAPH},  {"form", BLOCK},
    {"h1", PARAGRAPH},     {"h2", PARAGRAPH},      {"h3", PARAGRAPH},      {"h4", PARAGRAPH},
    {"h5", PARAGRAPH},     {"h6", PARAGRAPH},      {"head", HIDDEN},       {"header", PARAGRAPH},
    {"hr", RULE},          {"img", PICTURE},       {"li", ITEM},           {"main", BLOCK},
    {"nav", BLOCK},        {"ol", PARAGRAPH},      {"p", PARAGRAPH},       {"pre", PREFORMATTED},
    {"script", HIDDEN},    {"section", PARAGRAPH}, {"style", HIDDEN},      {"table", BLOCK},
    {"td", CELL},          {"template", HIDDEN},   {"th", CELL},           {"title", HIDDEN},
    {"tr", BLOCK},         {"ul", PARAGRAPH},
};

struct walk {
    struct buf *out;
    size_t begin;    /* of our text in out */
    unsigned hidden; /* elements entered since the one that is not shown, itself included */
    unsigned preformatted, quotes;
    unsigned quotes_before; /* of what was written last */
    unsigned breaks;        /* line ends that wait */
    bool blank;             /* a blank waits */
    struct buf href;        /* of the link that is open; empty: none */
    size_t link_begin;      /* where its words begin in out */
};

static enum element element_of(const xmlChar *name)
{
    for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++)
        if (xmlStrcasecmp(name, (const xmlChar *)elements[i].name) == 0)
            return elements[i].is;
    return INLINE;
}

static const char *attribute(const xmlChar **attributes, const char *name)
{
    for (size_t i = 0; attributes != NULL && attributes[i] != NULL; i += 2)
        if (xmlStrcasecmp(attributes[i], (const xmlChar *)name) == 0)
            return attributes[i + 1] ? (const char *)attributes[i + 1] : "";
    return NULL;
}

static bool is_hidden(const xmlChar **attributes)
{
    const char *style = attribute(attributes, "style");
    if (attribute(attributes, "hidden") != NULL)
        return true;
    const char *display = style ? strcasestr(style, "display") : NULL;
    if (display == NULL)
        return false;
    display += strlen("display");
    display += strspn(display, " \t\r\n");
    if (*display++ != ':')
        return false;
    return strncasecmp(display + strspn(display, " \t\r\n"), "none", 4) == 0;
}

/* ---- writing ---- */

/* Something follows: what waited is written. */
static void put_waiting(struct walk *w)
{
    struct buf *out = w->out;
    bool start = out->len == w->begin;
    for (unsigned i = 0; i < w->breaks && !start; i++) {
        buf_add_char(out, '\n');
        for (unsigned q = 0; i + 1 < w->breaks && q < w->quotes && q < w->quotes_before; q++)
            buf_add_char(out, '>');
    }
    if (start || w->breaks > 0)
        for (unsigned q = 0; q < w->quotes; q++)
            buf_add_z(out, q + 1 < w->quotes ? ">" : "> ");
    else if (w->blank)
        buf_add_char(out, ' ');
    w->breaks = 0;
    w->blank = false;
    w->quotes_before = w->quotes;
}

static void break_lines(struct walk *w, unsigned count)
{
    if (w->breaks < count)
        w->breaks = count;
    w->blank = false;
}

static void put_words(struct walk *w, struct str s)
{
    for (size_t i = 0; i < s.n;) {
        size_t start = i;
        while (i < s.n && strchr(" \t\r\n\f", s.p[i]) == NULL)
            i++;
        if (i > start) {
            put_waiting(w);
            buf_add(w->out, s.p + start, i - start);
        }
        for (; i < s.n && (s.p[i] == '\0' || strchr(" \t\r\n\f", s.p[i]) != NULL); i++)
            w->blank = w->breaks == 0;
    }
}

/* As it stands, line ends included. */
static void put_preformatted(struct walk *w, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\n') {
            w->breaks++;
        } else if (s.p[i] != '\r' && s.p[i] != '\0') {
            put_waiting(w);
            buf_add_char(w->out, s.p[i]);
        }
    }
}

/* ---- links ---- */

static void begin_link(struct walk *w, const xmlChar **attributes)
{
    const char *href = attribute(attributes, "href");
    buf_clear(&w->href);
    if (href == NULL || href[0] == '#' || strncasecmp(href, "javascript:", 11) == 0)
        return;
    if (!buf_add_z(&w->href, href))
        buf_clear(&w->href);
    w->link_begin = w->out->len;
}

/* The address, unless its words are the address. */
static void end_link(struct walk *w)
{
    struct str words = str_make(w->out->data + w->link_begin, w->out->len - w->link_begin);
    struct str href = str_trim(buf_str(&w->href));
    if (href.n == 0)
        return;
    words = str_trim(words);
    struct str bare = href;
    if (str_starts_nocase(bare, STR("mailto:")))
        bare = str_make(bare.p + 7, bare.n - 7);
    if (!str_eq(words, href) && !str_eq(words, bare)) {
        w->blank |= words.n > 0 && w->breaks == 0;
        put_waiting(w);
        buf_add_char(w->out, '<');
        buf_add_str(w->out, href);
        buf_add_char(w->out, '>');
    }
    buf_clear(&w->href);
}

/* ---- libxml2's events ---- */

static void on_start(void *user, const xmlChar *name, const xmlChar **attributes)
{
    struct walk *w = user;
    enum element is = element_of(name);
    if (w->hidden > 0 || is == HIDDEN || is_hidden(attributes)) {
        w->hidden++;
        return;
    }
    switch (is) {
    case BLOCK:
        break_lines(w, 1);
        break;
    case PARAGRAPH:
        break_lines(w, 2);
        break;
    case ITEM:
        break_lines(w, 1);
        put_waiting(w);
        buf_add_z(w->out, "-");
        w->blank = true;
        break;
    case CELL:
        w->blank = w->breaks == 0;
        break;
    case BREAK:
        w->breaks++;
        break;
    case RULE:
        break_lines(w, 1);
        put_waiting(w);
        buf_add_z(w->out, "----");
        break_lines(w, 1);
        break;
    case QUOTE:
        break_lines(w, 2);
        w->quotes++;
        break;
    case PREFORMATTED:
        break_lines(w, 2);
        w->preformatted++;
        break;
    case LINK:
        begin_link(w, attributes);
        break;
    case PICTURE:
        if (attribute(attributes, "alt") != NULL)
            put_words(w, str_of(attribute(attributes, "alt")));
        break;
    default:
        break;
    }
}

static void on_end(void *user, const xmlChar *name)
{
    struct walk *w = user;
    if (w->hidden > 0) {
        w->hidden--;
        return;
    }
    enum element is = element_of(name);
    switch (is) {
    case BLOCK:
    case ITEM:
        break_lines(w, 1);
        break;
    case PARAGRAPH:
    case QUOTE:
    case PREFORMATTED:
        w->quotes -= is == QUOTE && w->quotes > 0;
        w->preformatted -= is == PREFORMATTED && w->preformatted > 0;
        break_lines(w, 2);
        break;
    case LINK:
        end_link(w);
        break;
    default:
        break;
    }
}

static void on_text(void *user, const xmlChar *text, int n)
{
    struct walk *w = user;
    struct str s = str_make((const char *)text, (size_t)n);
    if (w->hidden > 0)
        return;
    if (w->preformatted > 0)
        put_preformatted(w, s);
    else
        put_words(w, s);
}

bool html_to_text(struct str html, struct buf *out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, xmlInitParser);
    struct walk w = {.out = out, .begin = out->len};
    htmlSAXHandler handler = {.startElement = on_start,
                              .endElement = on_end,
                              .characters = on_text,
                              .ignorableWhitespace = on_text};
    htmlParserCtxtPtr parser = htmlCreatePushParserCtxt(&handler, &w, NULL, 0, NULL, XML_CHAR_ENCODING_UTF8);
    if (parser == NULL || html.n > CONTENT_MAX) {
        htmlFreeParserCtxt(parser);
        return false;
    }
    buf_init(&w.href, HREF_MAX);
    htmlCtxtUseOptions(parser, HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING |
                                   HTML_PARSE_NONET | HTML_PARSE_IGNORE_ENC);
    htmlParseChunk(parser, html.p, (int)html.n, 1);
    htmlFreeParserCtxt(parser);
    buf_free(&w.href);
    return !out->failed;
}
