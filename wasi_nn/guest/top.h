/* From a classifier's output to a prediction, for guests in C and C++.
 *
 *     struct top_class best[5];
 *     top_softmax(scores, count);                      unless they are probabilities already
 *     if (!top_is_sound(scores, count)) ...            the model or the device is broken
 *     uint32_t found = top_find(scores, count, best, 5);
 *     best[i].label = ...                              for those that have one
 *     top_put_json(&text, best, found);                see text.h
 */
#ifndef GUEST_TOP_H
#define GUEST_TOP_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "text.h"

/* One class of the output. */
struct top_class {
    uint32_t index; /* the score's position in the output, from 0 */
    float score;
    const char *label; /* yours to set: its bytes, no NUL needed */
    uint32_t label_len; /* 0: there is none */
};

/* Turn logits into probabilities, in place. The maximum is taken off first, so that no exp can
 * overflow. A NaN or +inf among the logits turns every score into NaN. */
static inline void top_softmax(float *scores, uint32_t count) {
    float greatest = -INFINITY;
    float sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        greatest = fmaxf(greatest, scores[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        scores[i] = expf(scores[i] - greatest);
        sum += scores[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        scores[i] /= sum;
    }
}

/* False if there is no score, or one that is no number: JSON has no word for it, and it means that
 * the model or the device is broken. */
static inline bool top_is_sound(const float *scores, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (!isfinite(scores[i])) {
            return false;
        }
    }
    return count > 0;
}

/* Find the best classes, best first; of equal scores the lower index first.
 *
 * scores, count: sound ones.
 * best, size:    receives them, without labels; how many there is room for.
 * Returns: how many there are, the lesser of count and size.
 */
static inline uint32_t top_find(const float *scores, uint32_t count, struct top_class *best,
                                uint32_t size) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = found;
        while (at > 0 && scores[i] > best[at - 1].score) {
            at--;
        }
        if (at == size) {
            continue;
        }
        found += found < size;
        memmove(&best[at + 1], &best[at], (found - 1 - at) * sizeof best[0]);
        best[at].index = i;
        best[at].score = scores[i];
        best[at].label = "";
        best[at].label_len = 0;
    }
    return found;
}

/* ---- as JSON --------------------------------------------------------------------------------- */

/* The most bytes that top_put_json takes: a label's byte may become \u00xx, and 96 are for the keys
 * and numbers of a class. The best class is there twice, hence the 1. */
#define TOP_JSON_SIZE(classes, label_size) (((classes) + 1) * (6 * (label_size) + 96))

/* "label":...,"score":...,"index":... without braces. */
static inline void top_put_class(struct text *text, const struct top_class *one) {
    text_put(text, "\"label\":");
    if (one->label_len > 0) {
        text_put_json(text, one->label, one->label_len);
    } else {
        text_put(text, "\"");
        text_put_uint(text, one->index);
        text_put(text, "\"");
    }
    text_put(text, ",\"score\":");
    text_put_float(text, (double)one->score);
    text_put(text, ",\"index\":");
    text_put_uint(text, one->index);
}

/* Put a prediction as the appliance understands it: the best class, and all of them under "top".
 *
 *     {"label":"espresso","score":0.912300,"index":967,"top":[{"label":..,"score":..},..]}
 *
 * A class without a label is called by its index: a prediction without a nice name is worth more
 * than none.
 *
 * best, found: from top_find; at least one.
 */
static inline void top_put_json(struct text *text, const struct top_class *best, uint32_t found) {
    text_put(text, "{");
    top_put_class(text, &best[0]);
    text_put(text, ",\"top\":[");
    for (uint32_t i = 0; i < found; i++) {
        text_put(text, i == 0 ? "{" : ",{");
        top_put_class(text, &best[i]);
        text_put(text, "}");
    }
    text_put(text, "]}");
}

#endif /* GUEST_TOP_H */
