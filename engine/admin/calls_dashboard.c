/* calls_dashboard.c - the dashboard: one page, put in by the assembler (the Makefile says that the object
 * depends on it), which reads the API by itself. */
#include "engine/admin/calls.h"

__asm__(".pushsection .rodata\n"
        ".globl dashboard_page, dashboard_page_size\n"
        "dashboard_page:\n"
        ".incbin \"engine/admin/dashboard.html\"\n"
        "1: .balign 8\n"
        "dashboard_page_size:\n"
        ".quad 1b - dashboard_page\n"
        ".popsection\n");
extern const char dashboard_page[];
extern const uint64_t dashboard_page_size;

void call_dashboard(struct http_request *request, struct now now, void *user)
{
    struct buf body;
    (void)now;
    if (!for_operators(user, request))
        return;
    buf_init(&body, HTTP_ANSWER_MAX);
    if (buf_add(&body, dashboard_page, dashboard_page_size))
        http_answer(request, 200, "text/html; charset=utf-8", &body);
    else
        http_fail(request, 500, "failed", "no memory for the page");
    buf_free(&body);
}
