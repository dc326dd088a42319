//! The core of classify.c in Rust, without a crate: raw RGB pixels on stdin, five lines on stdout.
//!
//!     classify MODEL < 224x224.rgb
//!
//! The externs below are all there is to WASI-NN; wasi_nn.h beside the examples documents them.
//! Written for old compilers, too (checked with rustc 1.63); see ../README.md for the command line.

use std::io::{self, Read};
use std::process::exit;

/// 20 bytes: `kind` is one byte at offset 8, `data` is at offset 12.
#[repr(C)]
struct Tensor {
    dims: *const u32,
    dims_len: u32,
    kind: u8,
    data: *const u8,
    data_len: u32,
}

const TYPE_F32: u8 = 1;
const SUCCESS: i32 = 0;
const TOO_LARGE: i32 = 7;
const SIZE: usize = 224;
const TOP: usize = 5;

#[link(wasm_import_module = "wasi_ephemeral_nn")]
extern "C" {
    fn load_by_name(name: *const u8, name_len: u32, graph: *mut u32) -> i32;
    fn init_execution_context(graph: u32, context: *mut u32) -> i32;
    fn set_input(context: u32, index: u32, tensor: *const Tensor) -> i32;
    fn compute(context: u32) -> i32;
    fn get_output(context: u32, index: u32, buf: *mut u8, size: u32, written: *mut u32) -> i32;
}

fn die(message: &str) -> ! {
    eprintln!("classify: {}", message);
    exit(1)
}

fn check(code: i32, call: &str) {
    if code != SUCCESS {
        die(&format!("{} failed: errno {}", call, code));
    }
}

/// Pixels from stdin as an f32 tensor, channel by channel (NCHW).
fn read_tensor() -> Vec<f32> {
    let mut rgb = Vec::new();
    if let Err(error) = io::stdin().read_to_end(&mut rgb) {
        die(&format!("stdin: cannot read: {}", error));
    }
    let wanted = SIZE * SIZE * 3;
    if rgb.len() != wanted {
        die(&format!("stdin: got {} bytes, wanted {}", rgb.len(), wanted));
    }
    let channel = |c: usize| rgb.iter().skip(c).step_by(3);
    (0..3).flat_map(channel).map(|&x| (f32::from(x) - 127.0) / 128.0).collect()
}

/// Run the model on one input, and return output 0.
fn run(model: &str, input: &[f32]) -> Vec<f32> {
    let (mut graph, mut context, mut written) = (0, 0, 0);
    let dims = [1, 3, SIZE as u32, SIZE as u32];
    let tensor = Tensor {
        dims: dims.as_ptr(),
        dims_len: dims.len() as u32,
        kind: TYPE_F32,
        data: input.as_ptr().cast(),
        data_len: (input.len() * 4) as u32,
    };
    let mut scores = vec![0f32; 4096];
    // Safe: every pointer is good for its length, and nobody keeps one beyond its call. (Where a
    // runtime keeps the input's until compute, `input` outlives that.)
    unsafe {
        check(load_by_name(model.as_ptr(), model.len() as u32, &mut graph), "load_by_name");
        check(init_execution_context(graph, &mut context), "init_execution_context");
        check(set_input(context, 0, &tensor), "set_input");
        check(compute(context), "compute");
        loop {
            let size = (scores.len() * 4) as u32;
            let code = get_output(context, 0, scores.as_mut_ptr().cast(), size, &mut written);
            if code != TOO_LARGE || scores.len() >= 64 << 20 {
                check(code, "get_output");
                break;
            }
            // Not every runtime tells the size it needs.
            let wanted = (written as usize + 3) / 4;
            scores.resize(wanted.max(scores.len() * 2), 0.0);
        }
    }
    scores.truncate(written as usize / 4);
    scores
}

/// Turn logits into probabilities. The maximum is taken off first, so that no exp can overflow.
fn softmax(scores: &mut [f32]) {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|score| *score = (*score - top).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

fn main() {
    let model = std::env::args().nth(1).unwrap_or_else(|| {
        eprintln!("usage: classify MODEL < 224x224.rgb");
        exit(2)
    });
    let mut scores = run(&model, &read_tensor());
    softmax(&mut scores);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    for (place, &index) in order.iter().take(TOP).enumerate() {
        println!("{}. [{}] ({:.4})", place + 1, index, scores[index]);
    }
}
