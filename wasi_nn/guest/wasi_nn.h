/* WASI-NN for C and C++ guests: the core-module import `wasi_ephemeral_nn`.
 *
 * All twelve functions of WasmEdge's extended set. Nothing needs to be linked: copy this file
 * beside your source and include it. Only the functions you call become imports of your module.
 * That matters, because a runtime refuses a module that imports a function it does not have.
 *
 *     function                                          found in
 *     load, load_by_name, init_execution_context,       every runtime: this appliance, WasmEdge,
 *     set_input, compute, get_output                    wasmtime, WAMR
 *     load_by_name_with_config                          this appliance, WasmEdge, WAMR
 *     compute_single, get_output_single, fini_single,   this appliance, WasmEdge
 *     unload, finalize_execution_context
 *
 * The usual order of calls:
 *
 *     load or load_by_name -> init_execution_context -> set_input -> compute -> get_output
 *
 * Steps from set_input on may be repeated as often as you like on one context.
 *
 * Rules for every function:
 *   - The result is an errno, enum wasi_nn_errno: 0 is success.
 *   - An out pointer is written only on success. The one exception is `written` of get_output and
 *     get_output_single, which also tells the size that was needed with errno 7, too_large.
 *   - Memory you pass is only looked at during the call, and it stays yours. In particular
 *     set_input copies the tensor. (Some other runtimes keep a pointer into your memory until
 *     compute. To be correct everywhere, leave an input alone until compute has returned.)
 *   - Names are bytes with a length; no NUL is needed at the end.
 *   - Handles (graph, context) count up from 0, so 0 is a good handle and does not mean "none".
 *   - A pointer outside your memory gives 1, invalid_argument.
 *
 * Source: WebAssembly/wasi-nn, wasi-nn.witx (2024-10-28); WasmEdge plugins/wasi_nn, version 0.1.34.
 */
#ifndef WASI_NN_H
#define WASI_NN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define WASI_NN_ASSERT(condition, message) static_assert(condition, message)
extern "C" {
#else
#define WASI_NN_ASSERT(condition, message) _Static_assert(condition, message)
#endif

/* Editors read this header for the machine they run on, where the attributes mean nothing. */
#ifdef __wasm__
#define WASI_NN_IMPORT(name) __attribute__((import_module("wasi_ephemeral_nn"), import_name(name)))
#else
#define WASI_NN_IMPORT(name)
#endif

/* ---- numbers --------------------------------------------------------------------------------- */

/* What a call answers. Kept as int32_t in the functions because there are codes beyond this list:
 * 100 end of sequence, here and in WasmEdge; 101 context full, 102 prompt too long, 103 model not
 * found, in WasmEdge only. */
enum wasi_nn_errno {
    WASI_NN_ERRNO_SUCCESS = 0,
    WASI_NN_ERRNO_INVALID_ARGUMENT = 1, /* unknown handle or index, bad pointer, shape or size */
    WASI_NN_ERRNO_INVALID_ENCODING = 2, /* the encoding is unknown, or the model is not of it */
    WASI_NN_ERRNO_MISSING_MEMORY = 3,   /* your module exports no memory */
    WASI_NN_ERRNO_BUSY = 4,             /* a queue or a limit is full: try later, or give back */
    WASI_NN_ERRNO_RUNTIME_ERROR = 5,    /* the backend failed, or nothing is computed yet */
    WASI_NN_ERRNO_UNSUPPORTED_OPERATION = 6, /* an encoding or device that is not to be had here */
    WASI_NN_ERRNO_TOO_LARGE = 7,             /* the result does not fit the buffer */
    WASI_NN_ERRNO_NOT_FOUND = 8              /* no model of that name */
};

/* The element type of a tensor, numbered as since 2023-08. Old guests (wasi-nn 0.5 and before) had
 * u8 = 2 and i32 = 3, and old hosts still do; write new guests with these numbers. */
enum wasi_nn_type {
    WASI_NN_TYPE_F16 = 0,
    WASI_NN_TYPE_F32 = 1,
    WASI_NN_TYPE_F64 = 2,
    WASI_NN_TYPE_U8 = 3,
    WASI_NN_TYPE_I32 = 4,
    WASI_NN_TYPE_I64 = 5
};

/* The format of a model's bytes. */
enum wasi_nn_encoding {
    WASI_NN_ENCODING_OPENVINO = 0, /* two builders, in this order: the .xml, the .bin */
    WASI_NN_ENCODING_ONNX = 1,     /* one builder */
    WASI_NN_ENCODING_TENSORFLOW = 2,
    WASI_NN_ENCODING_PYTORCH = 3,
    WASI_NN_ENCODING_TENSORFLOWLITE = 4, /* one builder */
    WASI_NN_ENCODING_AUTODETECT = 5
};

/* Where to compute. */
enum wasi_nn_target {
    WASI_NN_TARGET_CPU = 0,
    WASI_NN_TARGET_GPU = 1,
    WASI_NN_TARGET_TPU = 2 /* any accelerator that is neither: an NPU, a VPU, an Edge TPU */
};

/* ---- records --------------------------------------------------------------------------------- */

typedef uint32_t wasi_nn_graph;   /* a loaded model, ready to compute */
typedef uint32_t wasi_nn_context; /* inputs and outputs of one computation on a graph */

/* One part of a model: for most encodings the whole file. */
typedef struct {
    const uint8_t *buf;
    uint32_t len; /* bytes */
} wasi_nn_graph_builder;

/* A dense, row-major, little-endian array. */
typedef struct {
    const uint32_t *dims;
    uint32_t dims_len; /* how many dims, not bytes */
    uint8_t type;      /* enum wasi_nn_type; one byte, and the three after it are padding */
    const uint8_t *data;
    uint32_t data_len; /* bytes: the product of dims times the element size */
} wasi_nn_tensor;

#ifdef __wasm__
WASI_NN_ASSERT(sizeof(void *) == 4, "WASI-NN is an interface of 32-bit memories");
WASI_NN_ASSERT(sizeof(wasi_nn_graph_builder) == 8, "graph builder: 8 bytes");
WASI_NN_ASSERT(offsetof(wasi_nn_graph_builder, len) == 4, "graph builder: len at 4");
WASI_NN_ASSERT(sizeof(wasi_nn_tensor) == 20, "tensor: 20 bytes");
WASI_NN_ASSERT(offsetof(wasi_nn_tensor, dims_len) == 4, "tensor: dims_len at 4");
WASI_NN_ASSERT(offsetof(wasi_nn_tensor, type) == 8, "tensor: type at 8");
WASI_NN_ASSERT(offsetof(wasi_nn_tensor, data) == 12, "tensor: data at 12");
WASI_NN_ASSERT(offsetof(wasi_nn_tensor, data_len) == 16, "tensor: data_len at 16");
#endif

/* ---- loading --------------------------------------------------------------------------------- */

/* Load a model from its bytes.
 *
 * builders, builders_len: the parts of the model, in the order its encoding asks for.
 * encoding, target:       enum wasi_nn_encoding, enum wasi_nn_target.
 * graph:                  receives the handle.
 * Errno: 1 wrong number of builders, unknown target, or a model larger than this app may load;
 * 2 unknown encoding, or bytes that are not of it; 4 too many graphs; 5 the backend cannot read the
 * model; 6 an encoding or a target that this machine lacks or this app may not use. Runtimes differ
 * here, so do not decide anything on one particular code.
 */
WASI_NN_IMPORT("load")
int32_t wasi_nn_load(const wasi_nn_graph_builder *builders, uint32_t builders_len,
                     uint32_t encoding, uint32_t target, wasi_nn_graph *graph);

/* Get a model that the runtime already has, by its name.
 *
 * name, name_len: UTF-8. Which names exist is for whoever runs the box to say (on this appliance:
 *                 the model repository; WasmEdge: --nn-preload; wasmtime: -S nn-graph).
 * graph:          receives the handle; on this appliance the same one for the same name, until you
 *                 unload it.
 * Errno: 8 there is no such model, or this app may not use it (wasmtime says 6); else as load.
 */
WASI_NN_IMPORT("load_by_name")
int32_t wasi_nn_load_by_name(const char *name, uint32_t name_len, wasi_nn_graph *graph);

/* The same with settings for the backend.
 *
 * config, config_len: UTF-8, by custom a JSON object. What it may say depends on the backend.
 *                     Here: "device", "backend", "encoding", "num_threads"; others are ignored.
 * Errno: as load_by_name; 1 a setting has a value it cannot have; 2 it is no JSON object.
 */
WASI_NN_IMPORT("load_by_name_with_config")
int32_t wasi_nn_load_by_name_with_config(const char *name, uint32_t name_len, const char *config,
                                         uint32_t config_len, wasi_nn_graph *graph);

/* Give a graph back. The handle is dead at once and is never used again. Contexts made on it live
 * on and keep the model in memory, but can only be drained: get_output still answers what was
 * computed; set_input, compute and compute_single answer 1. So finalize them, too.
 *
 * Errno: 1 unknown or already unloaded graph.
 */
WASI_NN_IMPORT("unload")
int32_t wasi_nn_unload(wasi_nn_graph graph);

/* ---- computing ------------------------------------------------------------------------------- */

/* Make a place for the inputs and outputs of a computation. Several contexts on one graph are fine.
 *
 * context: receives the handle.
 * Errno: 1 unknown graph; 4 too many contexts.
 */
WASI_NN_IMPORT("init_execution_context")
int32_t wasi_nn_init_execution_context(wasi_nn_graph graph, wasi_nn_context *context);

/* Give a context back, with the inputs and outputs it holds. The handle is dead at once.
 *
 * Errno: 1 unknown or already finalized context.
 */
WASI_NN_IMPORT("finalize_execution_context")
int32_t wasi_nn_finalize_execution_context(wasi_nn_context context);

/* Set one input. The tensor is copied: the record, its dims and its data may be reused afterwards.
 * Setting the same index twice keeps the last tensor. An input stays set over repeated computes.
 *
 * index:  the input's position in the model, from 0.
 * tensor: shape and type must be what the model takes; nothing is converted.
 * Errno: 1 unknown context or index, an unloaded graph, a tensor that is not what the model takes,
 * or more bytes in all contexts than this app may hold.
 */
WASI_NN_IMPORT("set_input")
int32_t wasi_nn_set_input(wasi_nn_context context, uint32_t index, const wasi_nn_tensor *tensor);

/* Compute the outputs from the inputs. Returns when they are there.
 *
 * Errno: 1 unknown context, an input that was never set (other runtimes: 5), an unloaded graph, or
 * outputs larger than this app may hold; 4 too much work is waiting; 5 the backend failed.
 */
WASI_NN_IMPORT("compute")
int32_t wasi_nn_compute(wasi_nn_context context);

/* Copy one output of the last compute into your memory.
 *
 * index:         the output's position in the model, from 0.
 * buf, buf_size: where to, and how many bytes it may take.
 * written:       receives the output's size in bytes.
 * Errno: 1 unknown context or index; 5 nothing is computed yet; 7 the output does not fit: nothing
 * is written to buf, and *written is the size needed. So buf_size 0 asks for the size. (wasmtime
 * leaves *written alone with 7.)
 */
WASI_NN_IMPORT("get_output")
int32_t wasi_nn_get_output(wasi_nn_context context, uint32_t index, void *buf, uint32_t buf_size,
                           uint32_t *written);

/* ---- models that answer bit by bit ----------------------------------------------------------- */
/* For generators such as WasmEdge's language models: repeat compute_single and get_output_single
 * until compute_single answers 100 (end of sequence), then fini_single. A classifier needs
 * none of them.
 *
 * This appliance runs ordinary models only, and such a model gives its whole output as one bit: the
 * first compute_single computes, and the next answers 100, until fini_single. */

/* Compute the next bit of output.
 *
 * Errno: as compute; 100 the sequence is over. In WasmEdge also 6, the model does not work bit by
 * bit, and 101 and 102, the sequence had to end.
 */
WASI_NN_IMPORT("compute_single")
int32_t wasi_nn_compute_single(wasi_nn_context context);

/* Copy the bit of output that the last compute_single (or compute) made; arguments as get_output.
 * Before the first there is nothing to copy, which is no error: *written is 0.
 *
 * Errno: as get_output, without 5.
 */
WASI_NN_IMPORT("get_output_single")
int32_t wasi_nn_get_output_single(wasi_nn_context context, uint32_t index, void *buf,
                                  uint32_t buf_size, uint32_t *written);

/* End the sequence that compute_single began, so that the context can start another. The inputs and
 * the last output stay.
 *
 * Errno: 1 unknown context.
 */
WASI_NN_IMPORT("fini_single")
int32_t wasi_nn_fini_single(wasi_nn_context context);

/* ---- for messages ---------------------------------------------------------------------------- */

/* The name of an errno; "unknown" for a number this header does not list. Never NULL. */
static inline const char *wasi_nn_errno_name(int32_t code) {
    switch (code) {
    case WASI_NN_ERRNO_SUCCESS: return "success";
    case WASI_NN_ERRNO_INVALID_ARGUMENT: return "invalid_argument";
    case WASI_NN_ERRNO_INVALID_ENCODING: return "invalid_encoding";
    case WASI_NN_ERRNO_MISSING_MEMORY: return "missing_memory";
    case WASI_NN_ERRNO_BUSY: return "busy";
    case WASI_NN_ERRNO_RUNTIME_ERROR: return "runtime_error";
    case WASI_NN_ERRNO_UNSUPPORTED_OPERATION: return "unsupported_operation";
    case WASI_NN_ERRNO_TOO_LARGE: return "too_large";
    case WASI_NN_ERRNO_NOT_FOUND: return "not_found";
    default: return "unknown";
    }
}

#ifdef __cplusplus
}
#endif

#endif /* WASI_NN_H */
