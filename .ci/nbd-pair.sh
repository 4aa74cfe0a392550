# For checks of `nbd-pair`: two daemons on one machine, in a directory that goes with them. To be sourced.
set -euo pipefail
cd "$(dirname "$0")/../.."
pair=${NBD_PAIR:-}
if [ -z "$pair" ]; then
    cargo build -q --release -p posthaste-nbd-pair
    pair=${CARGO_TARGET_DIR:-target}/release/nbd-pair
fi
pair=$(realpath "$pair")
dir=$(mktemp -d)
declare -A pids=()
others=()
# A limit of a file's size is an error, as a disk's, and not the end of the process.
trap '' XFSZ

cleanup() {
    for pid in "${pids[@]}" "${others[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

say() { echo "after $SECONDS s: $*"; }

fail() {
    echo "FAILED: $*"
    for log in "$dir"/*.log; do echo "--- ${log##*/}"; tail -n 30 "$log"; done
    exit 1
}

# The file that `new` prints, with this machine's directories and ports.
new_pair() { # size in MiB
    local ports repl1 repl2
    ports=$(python3 - <<'PORTS'
import socket
held = [socket.socket() for _ in range(4)]
for s in held: s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])
PORTS
    )
    read -r repl1 repl2 nbd1 nbd2 <<<"$ports"
    "$pair" new --size-mib "$1" 127.0.0.1 127.0.0.2 |
        sed -e '/^dir =/d' -e '/^replication =/d' -e '/^nbd =/d' \
            -e "s|^id = 1|&\ndir = \"$dir/1\"\nreplication = \"127.0.0.1:$repl1\"\nnbd = [\"tcp:127.0.0.1:$nbd1\", \"unix:$dir/1.sock\"]|" \
            -e "s|^id = 2|&\ndir = \"$dir/2\"\nreplication = \"127.0.0.1:$repl2\"\nnbd = [\"tcp:127.0.0.1:$nbd2\", \"unix:$dir/2.sock\"]|" \
            >"$dir/pair.toml"
}
# Each machine has its own copy of it.
declare -A conf=([1]="$dir/pair.toml" [2]="$dir/pair.toml")

operator() { # command, node, flags...
    local command=$1 node=$2
    shift 2
    "$pair" "$command" "${conf[$node]}" --node "$node" "$@"
}

# What each daemon is started by, if by anything.
declare -A by=()

start() { # node
    ${by[$1]:-} "$pair" run "${conf[$1]}" --node "$1" >>"$dir/$1.log" 2>&1 &
    pids[$1]=$!
    within 5 "daemon $1 answers" operator status "$1"
}

stop() { # node
    kill "${pids[$1]}"
    wait "${pids[$1]}" || fail "daemon $1 ended badly"
    unset "pids[$1]"
}

killed() { # node
    kill -9 "${pids[$1]}"
    wait "${pids[$1]}" 2>/dev/null || true
    unset "pids[$1]"
}

within() { # seconds, what, command...
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || fail "never: $what"
        sleep 0.05
    done
}

in_sync() { operator status "$1" | grep -q '^in_sync     1 2$' && operator status "$1" | grep -q '^peer        Synced'; }
linked() { operator status "$1" | grep '^peer ' | grep -vq Down; }
qio() { # uri, command...
    local uri=$1 args=() out
    shift
    for command in "$@"; do args+=(-c "$command"); done
    out=$(qemu-io -f raw "${args[@]}" "$uri" 2>&1) || fail "qemu-io $uri: $out"
    # It says of some failures nothing by its exit code.
    if grep -qiE 'verification failed|error|failed' <<<"$out"; then fail "qemu-io $uri: $out"; fi
}

# A client of our own: numbers into 512 blocks of 4 KiB from an offset on, one by one; each that was answered goes into a file, and
# into another one, if it is named, how many ms each took.
writer() { # socket, offset in MiB, file, file of times
    exec python3 - "$@" <<'WRITER'
import socket, struct, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
def take(n):
    got = b""
    while len(got) < n:
        more = s.recv(n - len(got))
        if not more: sys.exit(0)
        got += more
    return got
take(18)
s.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 5) + b"disk0")
take(10)
times = open(sys.argv[4], "w") if len(sys.argv) > 4 else None
with open(sys.argv[3], "w") as acked:
    number = 0
    while True:
        number += 1
        offset = (int(sys.argv[2]) << 20) + number % 512 * 4096
        begun = time.monotonic()
        try:
            s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, number, offset, 4096) + struct.pack(">Q", number) * 512)
            errno = struct.unpack(">IIQ", take(16))[1]
        except OSError:
            break
        if errno: break
        print(number, file=acked, flush=True)
        if times: print(f"{1000 * (time.monotonic() - begun):.1f}", file=times, flush=True)
WRITER
}

# Whether an image has all that a writer was told of.
has_acked() { # image, offset in MiB, file
    python3 - "$@" <<'ACKED'
import struct, sys
image = open(sys.argv[1], "rb").read()
acked = [int(line) for line in open(sys.argv[3]).read().split()]
newest = {}
for number in acked: newest[number % 512] = number
for place, number in newest.items():
    block = image[(int(sys.argv[2]) << 20) + place * 4096:][:4096]
    found = struct.unpack(">Q", block[:8])[0]
    # The one write under way at the end may be there as well.
    assert block == block[:8] * 512 and found in (number, acked[-1] + 1), (place, number, found)
print(f"{len(acked)} acknowledged writes are there")
ACKED
}

acked() { # file, how many at least
    [ "$(wc -l <"$1")" -ge "$2" ]
}

same_files() { cmp <(tail -c +4097 "$dir/1/data") <(tail -c +4097 "$dir/2/data") || fail "the two files differ"; }
