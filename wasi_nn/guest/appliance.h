/* The import module `appliance`: frames, labels and predictions, for reactor guests in C and C++.
 *
 * A reactor is a module without main. The appliance starts it once, keeps it warm, and calls
 *
 *     APPLIANCE_ON_FRAME int32_t appliance_on_frame(uint32_t frame) { ... return 0; }
 *
 * for every frame. Return 0 if all is fine, else an errno; the appliance counts it and goes on with
 * the next frame. Global variables keep their values between frames: load a model once, at the
 * first frame.
 *
 * The shortest path from a frame to a prediction, with wasi_nn.h:
 *
 *     appliance_frame_set_input -> wasi_nn_compute -> wasi_nn_get_output -> appliance_emit
 *
 * Build with -mexec-model=reactor. Only the functions you call become imports of your module.
 *
 * Rules for every function:
 *   - The result is a WASI-NN errno (enum wasi_nn_errno in wasi_nn.h): 0 is success.
 *   - Errno 1, invalid_argument: an unknown handle or index, or a pointer outside your memory.
 *   - An out pointer is written only on success. The one exception is `written`, which also tells
 *     the size that was needed with errno 7, too_large; the buffer itself is then left alone.
 *   - Memory you pass is only looked at during the call, and it stays yours.
 *   - A frame handle is good until appliance_on_frame returns. Do not keep it.
 *   - ctx is an execution context of WASI-NN (wasi_nn_init_execution_context).
 */
#ifndef APPLIANCE_H
#define APPLIANCE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define APPLIANCE_ASSERT(condition, message) static_assert(condition, message)
#define APPLIANCE_ALIGNOF(type) alignof(type)
extern "C" {
#else
#define APPLIANCE_ASSERT(condition, message) _Static_assert(condition, message)
#define APPLIANCE_ALIGNOF(type) _Alignof(type)
#endif

/* Editors read this header for the machine they run on, where the attributes mean nothing. */
#ifdef __wasm__
#define APPLIANCE_IMPORT(name) __attribute__((import_module("appliance"), import_name(name)))
#define APPLIANCE_ON_FRAME __attribute__((export_name("appliance_on_frame")))
#else
#define APPLIANCE_IMPORT(name)
#define APPLIANCE_ON_FRAME
#endif

/* Yours to define, with APPLIANCE_ON_FRAME before it. */
int32_t appliance_on_frame(uint32_t frame);

/* ---- numbers and records --------------------------------------------------------------------- */

/* What the numbers of an output mean. */
enum appliance_output_kind {
    APPLIANCE_OUTPUT_UNKNOWN = 0,
    APPLIANCE_OUTPUT_LOGITS = 1,       /* softmax makes them probabilities */
    APPLIANCE_OUTPUT_PROBABILITIES = 2 /* between 0 and 1 already */
};

/* How loud a log line is. */
enum appliance_log_level {
    APPLIANCE_LOG_DEBUG = 0,
    APPLIANCE_LOG_INFO = 1,
    APPLIANCE_LOG_WARNING = 2,
    APPLIANCE_LOG_ERROR = 3
};

/* A struct and a function share each of the names below, as with stat(2): write the word struct. */
struct appliance_frame_info {
    uint32_t width;       /* pixels */
    uint32_t height;      /* pixels */
    uint64_t sequence;    /* counts the frames of one camera; a gap means frames were skipped */
    uint64_t captured_ns; /* wall clock, nanoseconds since the Unix epoch */
};

struct appliance_output_info {
    uint32_t type;        /* enum wasi_nn_type */
    uint32_t kind;        /* enum appliance_output_kind */
    uint32_t size_bytes;  /* of the whole output: what get_output will write */
    uint32_t label_count; /* 0: the model came without labels for this output */
};

#ifdef __wasm__
APPLIANCE_ASSERT(sizeof(struct appliance_frame_info) == 24, "frame info: 24 bytes");
APPLIANCE_ASSERT(APPLIANCE_ALIGNOF(struct appliance_frame_info) == 8, "frame info: align 8");
APPLIANCE_ASSERT(offsetof(struct appliance_frame_info, height) == 4, "frame info: height at 4");
APPLIANCE_ASSERT(offsetof(struct appliance_frame_info, sequence) == 8, "frame info: sequence at 8");
APPLIANCE_ASSERT(offsetof(struct appliance_frame_info, captured_ns) == 16,
                 "frame info: captured_ns at 16");
APPLIANCE_ASSERT(sizeof(struct appliance_output_info) == 16, "output info: 16 bytes");
APPLIANCE_ASSERT(offsetof(struct appliance_output_info, kind) == 4, "output info: kind at 4");
APPLIANCE_ASSERT(offsetof(struct appliance_output_info, size_bytes) == 8,
                 "output info: size_bytes at 8");
APPLIANCE_ASSERT(offsetof(struct appliance_output_info, label_count) == 12,
                 "output info: label_count at 12");
#endif

/* ---- frames ---------------------------------------------------------------------------------- */
/* Three ways to a frame's pixels, cheapest first. Take the first that does what you need. */

/* Make a frame the input of a context. The host crops, resizes, converts and normalises it as the
 * context's model says (its model.toml, else [input] of this app's app.toml). Nothing crosses guest
 * memory.
 *
 * input: the input's position in the model, from 0.
 */
APPLIANCE_IMPORT("frame_set_input")
int32_t appliance_frame_set_input(uint32_t frame, uint32_t ctx, uint32_t input);

/* The same into your memory, to look at or change before wasi_nn_set_input.
 *
 * buf, buf_len: where to, and how many bytes it may take.
 * written:      receives the tensor's size in bytes; with errno 7 (buf too small) the size needed,
 *               and nothing else is written. So buf_len 0 asks for the size.
 */
APPLIANCE_IMPORT("frame_to_tensor")
int32_t appliance_frame_to_tensor(uint32_t frame, uint32_t ctx, uint32_t input, void *buf,
                                  uint32_t buf_len, uint32_t *written);

/* Copy raw pixels: RGB, row-major, 3 bytes a pixel, no padding between rows.
 *
 * offset:       the byte to start at; (y * width + x) * 3 for the pixel at x, y.
 * buf, buf_len: where to, and how many bytes at most. What is left of the frame may be less.
 * written:      receives how many bytes were copied: min(buf_len, rest).
 */
APPLIANCE_IMPORT("frame_read")
int32_t appliance_frame_read(uint32_t frame, uint32_t offset, uint8_t *buf, uint32_t buf_len,
                             uint32_t *written);

/* Say how large a frame is, which one, and when it was taken. */
APPLIANCE_IMPORT("frame_info")
int32_t appliance_frame_info(uint32_t frame, struct appliance_frame_info *out);

/* ---- outputs and labels ---------------------------------------------------------------------- */

/* Say what an output holds, and how large it is.
 *
 * output: the output's position in the model, from 0.
 */
APPLIANCE_IMPORT("output_info")
int32_t appliance_output_info(uint32_t ctx, uint32_t output, struct appliance_output_info *out);

/* Copy the label of one class: UTF-8, without a NUL at the end.
 *
 * index:        the class, that is the element's position in the output; below label_count.
 * buf, buf_len: where to, and how many bytes it may take.
 * written:      receives the label's length in bytes; with errno 7 (buf too small) the length
 *               needed, and nothing else is written.
 */
APPLIANCE_IMPORT("label")
int32_t appliance_label(uint32_t ctx, uint32_t output, uint32_t index, char *buf, uint32_t buf_len,
                        uint32_t *written);

/* ---- what you have to say -------------------------------------------------------------------- */

/* Publish one prediction about the frame at hand: a JSON object in UTF-8. You may emit several.
 *
 * json, len: the appliance understands the keys "label" (string) and "score" (number) and can
 *            search by them; all other keys are kept as they are.
 * Errno: 1 it is not a JSON object.
 */
APPLIANCE_IMPORT("emit")
int32_t appliance_emit(const char *json, uint32_t len);

/* Write a line to the appliance's log.
 *
 * level:     enum appliance_log_level.
 * text, len: UTF-8; no newline is needed at the end.
 */
APPLIANCE_IMPORT("log")
int32_t appliance_log(uint32_t level, const char *text, uint32_t len);

#ifdef __cplusplus
}
#endif

#endif /* APPLIANCE_H */
