#!/usr/bin/env bash
# A release build that knows what the gate does all day (profile-guided optimisation), for packagers.
#
#   benches/pgo.sh [FOLDER]       leaves the binary in FOLDER/release/portcullis (target/pgo by default)
#
# An instrumented gate does the work of `benches/compare`, all protocols of it, and the compiler is told what ran how
# often. Needs llvm-profdata (of `rustup component add llvm-tools`, or a distribution's; PROFDATA names another), and
# about three times as long as a release build.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mkdir -p "${1:-target/pgo}" && realpath "${1:-target/pgo}")
sysroot=$(rustc --print sysroot)
profdata=${PROFDATA:-$(find "$sysroot" -name llvm-profdata | head -n 1)}
profdata=${profdata:-$(command -v llvm-profdata || true)}
[ -x "$profdata" ] || { echo "llvm-profdata is needed: rustup component add llvm-tools" >&2; exit 1; }

echo "==== instrumented build"
rm -rf "$folder/raw" && mkdir "$folder/raw"
# Without link-time optimisation: it changes nothing about what is counted, and takes most of the time.
RUSTFLAGS="-Cprofile-generate=$folder/raw" CARGO_TARGET_DIR="$folder/instrumented" \
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
  cargo build --release --locked --bin portcullis

echo "==== what it does all day"
CARGO_PROFILE_BENCH_LTO=off CARGO_PROFILE_BENCH_CODEGEN_UNITS=16 \
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
  cargo bench --locked --bench compare -- --alone --gate "trained=$folder/instrumented/release/portcullis" \
  --only h1,h2,handshake,handshake-cold,resumed,download,upload --rounds 1 --seconds 2 --out "$folder/training"

echo "==== optimised build"
"$profdata" merge -o "$folder/merged.profdata" "$folder"/raw/*.profraw
RUSTFLAGS="-Cprofile-use=$folder/merged.profdata" CARGO_TARGET_DIR="$folder" \
  cargo build --release --locked --bin portcullis
echo "$folder/release/portcullis"
