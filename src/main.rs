//! The `ringx` binary: hands the command line to [`ringx::control`] and exits with its verdict.

#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ringx::control::main()
}
