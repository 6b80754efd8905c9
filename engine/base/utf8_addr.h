/* utf8_addr.h - an address that is not ASCII where only some characters may stand: ORCPT, and the fields of
 * a delivery report (RFC 6533 3). Any thread. */
#ifndef POSTRIDER_BASE_UTF8_ADDR_H
#define POSTRIDER_BASE_UTF8_ADDR_H

#include "engine/base/buf.h"

/* Appends "j\x{F6}rg@example.com": utf-8-addr-xtext, all of it ASCII; with eight_bit utf-8-addr-unitext, in
 * which only a backslash is written so. A byte that is not part of UTF-8 stands for itself. */
bool buf_add_utf8_addr(struct buf *out, struct str address, bool eight_bit);

#endif
