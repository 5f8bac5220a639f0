# How a program becomes a wasm32-wasip1 module on this machine: sourced by the build scripts here.
#
# What lives here is the choice of compilers, not what is built. Two functions choose, say on
# standard error what they chose, and leave it in arrays:
#   toolchain_rust   CARGO_WASM=(cargo options...), and the environment that cargo needs
#   toolchain_c      CC_WASM=(compiler and options...)
# shellcheck shell=bash

WASM_TARGET=wasm32-wasip1
# Where Debian's wasi-libc lives.
WASI_LIBC=/usr/lib/wasm32-wasi

say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

# Makes sure that Debian packages are installed. $1 is what a user may do instead.
need_packages() {
  local instead=$1 package missing=()
  shift
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "no toolchain for $WASM_TARGET here: $instead"
  if ((EUID != 0)); then
    die "missing packages: $instead, or run
  sudo apt-get install -y --no-install-recommends ${missing[*]}"
  fi
  say "installing ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    die "apt-get failed"
  fi
  rm -f "$log"
}

# Whether the compiler $1 has the standard library of the target.
has_std() {
  local libdir
  libdir=$("$1" --print target-libdir --target "$WASM_TARGET" 2>/dev/null) || return 1
  compgen -G "$libdir/libstd-*.rlib" >/dev/null
}

# $1..: more flags for rustc.
toolchain_rust() {
  local flags=("$@")
  command -v cargo >/dev/null || die "cargo is not installed: see https://rustup.rs"
  CARGO_WASM=(--target "$WASM_TARGET")
  # A caller's own flags are for the programs of this machine.
  unset RUSTFLAGS
  if has_std "${RUSTC:-rustc}"; then
    say "rust: $("${RUSTC:-rustc}" --version), its own $WASM_TARGET"
  else
    debian_rust
  fi
  local joined
  joined=$(printf '%s\037' "${flags[@]}")
  export CARGO_ENCODED_RUSTFLAGS=${joined%$'\037'}
}

# Debian ships a newer compiler with its sources but no WASI target: cargo builds the standard
# library from those sources. Compiler and sources are of one version because they are one package.
debian_rust() {
  local instead="run 'rustup target add $WASM_TARGET'" llvm
  need_packages "$instead" rustc-web rust-web-src wasi-libc
  RUSTC=$(dpkg -L rustc-web | grep -m1 '/bin/rustc$')
  # Not a nightly, but std can only be built with what cargo reserves for one.
  export RUSTC RUSTC_BOOTSTRAP=1
  # The linker reads the compiler's bitcode and features, so it is of the same LLVM.
  llvm=$("$RUSTC" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
  [[ -n $llvm ]] || die "$RUSTC does not tell its LLVM version"
  need_packages "$instead" "lld-$llvm"
  export CARGO_TARGET_WASM32_WASIP1_LINKER=wasm-ld-$llvm
  CARGO_WASM+=("-Zbuild-std=std,panic_abort")
  flags+=(
    -Clink-self-contained=no
    "-Lnative=$WASI_LIBC"
    "-Clink-arg=$WASI_LIBC/crt1-command.o"
    # The standard library's sources are named as in a released toolchain.
    "--remap-path-prefix=$("$RUSTC" --print sysroot)/lib/rustlib/src/rust=/rust"
  )
  say "rust: $("$RUSTC" --version), std from rust-web-src, $CARGO_TARGET_WASM32_WASIP1_LINKER, wasi-libc"
}

# Whether Debian's clang of major version $1 can build and link for WASI.
clang_works() {
  command -v "clang-$1" >/dev/null && command -v "wasm-ld-$1" >/dev/null &&
    [[ -e $WASI_LIBC/libc.a ]] &&
    [[ -e $("clang-$1" --target=wasm32-wasi -print-libgcc-file-name 2>/dev/null) ]]
}

# The highest major version of an installed clang that works, if any.
find_clang() {
  local version
  for version in $(compgen -c clang- | sed -n 's/^clang-\([0-9][0-9]*\)$/\1/p' | sort -rnu); do
    if clang_works "$version"; then
      echo "$version"
      return
    fi
  done
}

# The highest major version of clang that apt has with everything it needs, if any.
find_clang_package() {
  command -v apt-cache >/dev/null || return 0
  apt-cache search --names-only '^libclang-rt-[0-9]+-dev-wasm32$' |
    sed -n 's/^libclang-rt-\([0-9]*\)-dev-wasm32.*/\1/p' | sort -rn | head -n 1
}

toolchain_c() {
  local version sysroot target=wasm32-wasi
  if [[ -n ${WASI_SDK_PATH:-} ]]; then
    sysroot=$WASI_SDK_PATH/share/wasi-sysroot
    [[ -d $sysroot/lib/$WASM_TARGET ]] && target=$WASM_TARGET
    CC_WASM=("$WASI_SDK_PATH/bin/clang" "--target=$target" "--sysroot=$sysroot")
    "${CC_WASM[@]}" --version >/dev/null 2>&1 || die "WASI_SDK_PATH: no clang in $WASI_SDK_PATH/bin"
    say "c: $("${CC_WASM[@]}" --version | head -n 1), WASI SDK"
    return
  fi
  version=$(find_clang)
  if [[ -z $version ]] && python3 -m ziglang version >/dev/null 2>&1; then
    CC_WASM=(python3 -m ziglang cc -target wasm32-wasi)
    say "c: zig $(python3 -m ziglang version) of PyPI's ziglang"
    return
  fi
  if [[ -z $version ]]; then
    version=$(find_clang_package)
    need_packages "set WASI_SDK_PATH to a WASI SDK, or run 'pip install ziglang'" \
      "clang-${version:-19}" "lld-${version:-19}" "libclang-rt-${version:-19}-dev-wasm32" wasi-libc
    version=$(find_clang)
    [[ -n $version ]] || die "the installed clang cannot build for WASI"
  fi
  CC_WASM=("clang-$version" --target=wasm32-wasi --sysroot=/usr)
  say "c: $("clang-$version" --version | head -n 1), wasi-libc"
}
