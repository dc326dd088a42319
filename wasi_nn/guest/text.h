/* Text and JSON in a fixed buffer, for guests in C and C++: no printf, no memory taken.
 *
 *     char buf[256];
 *     struct text line = {.buf = buf, .size = sizeof buf};
 *     text_put(&line, "{\"label\":");
 *     text_put_json(&line, label, label_len);
 *     text_put(&line, "}");
 *     if (!line.is_cut) appliance_emit(line.buf, line.len);
 *
 * Why not printf: with a double it makes a module 19 KB larger, this 1.3 KB (zig 0.17.1, -O3).
 *
 * Rules:
 *   - Nothing is written beyond the buffer. What does not fit is left out, and is_cut says so from
 *     then on: good enough for a log line, no longer JSON.
 *   - There is no NUL at the end: the text is `len` bytes.
 */
#ifndef GUEST_TEXT_H
#define GUEST_TEXT_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct text {
    char *buf; /* yours; it has to live as long as the text */
    uint32_t size;
    uint32_t len;
    bool is_cut;
};

static inline void text_put_bytes(struct text *text, const char *bytes, uint32_t len) {
    if (len > text->size - text->len) {
        text->is_cut = true;
        return;
    }
    memcpy(text->buf + text->len, bytes, len);
    text->len += len;
}

static inline void text_put(struct text *text, const char *string) {
    text_put_bytes(text, string, (uint32_t)strlen(string));
}

static inline void text_put_uint(struct text *text, uint64_t number) {
    char digits[20]; /* of 2^64 - 1 */
    uint32_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    text_put_bytes(text, digits + at, (uint32_t)sizeof digits - at);
}

/* Put a number with six decimals, 25 bytes at most. NaN and infinity, for which JSON has no word,
 * become null. */
static inline void text_put_float(struct text *text, double number) {
    if (!isfinite(number)) {
        text_put(text, "null");
        return;
    }
    if (number < 0) {
        text_put(text, "-");
        number = -number;
    }
    uint32_t exponent = 0;
    for (; number >= 1e12; exponent++) { /* 1e12 * 1e6 still fits 64 bits */
        number /= 10;
    }
    const uint64_t millionths = (uint64_t)(number * 1e6 + 0.5);
    text_put_uint(text, millionths / 1000000);
    text_put(text, ".");
    for (uint64_t unit = 100000; unit > 0; unit /= 10) {
        text_put_uint(text, millionths / unit % 10);
    }
    if (exponent > 0) {
        text_put(text, "e");
        text_put_uint(text, exponent);
    }
}

/* The length of the UTF-8 character that begins here, or 0 if none does. len: at least 1.
 * Source: RFC 3629, section 4, whose table narrows only the second byte. */
static inline uint32_t text_utf8_len(const char *bytes, uint32_t len) {
    const unsigned char *at = (const unsigned char *)bytes;
    const unsigned char first = at[0];
    const unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const unsigned char greatest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    const uint32_t wanted = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (wanted == 1) {
        return 1;
    }
    if (first < 0xc2 || first > 0xf4 || wanted > len || at[1] < least || at[1] > greatest) {
        return 0;
    }
    for (uint32_t i = 2; i < wanted; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return wanted;
}

/* Put a JSON string with its quotes (RFC 8259, section 7). Whatever the bytes are, it is JSON: what
 * is not UTF-8 becomes U+FFFD. It takes 6 * len + 2 bytes at most. */
static inline void text_put_json(struct text *text, const char *bytes, uint32_t len) {
    static const char HEX[] = "0123456789abcdef";
    text_put(text, "\"");
    while (len > 0) {
        const unsigned char byte = (unsigned char)bytes[0];
        const uint32_t character = text_utf8_len(bytes, len);
        const uint32_t step = character > 0 ? character : 1;
        if (character == 0) {
            text_put(text, "\\ufffd");
        } else if (byte < 0x20) {
            const char escape[] = {'\\', 'u', '0', '0', HEX[byte >> 4], HEX[byte & 15]};
            text_put_bytes(text, escape, sizeof escape);
        } else {
            if (byte == '"' || byte == '\\') {
                text_put(text, "\\");
            }
            text_put_bytes(text, bytes, character);
        }
        bytes += step;
        len -= step;
    }
    text_put(text, "\"");
}

#endif /* GUEST_TEXT_H */
