#!/usr/bin/env bash
# The main job from nothing: a small Internet (bench/world), the daemon, a newsletter for 20,000 recipients, and what became
# of each. Needs no root; everything lives in a temporary directory and ends with the script.
# usage: bench/demo.sh BUILD_DIRECTORY [RECIPIENTS]
set -eu
cd "$(dirname "$0")/.."
build=$1
count=${2:-20000}
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/postrider-demo.XXXXXX")
world= daemon=
finish() {
    status=$?
    trap - EXIT
    [ -z "$daemon" ] || kill -TERM "$daemon" 2>/dev/null || true
    [ -z "$daemon" ] || wait "$daemon" 2>/dev/null || true
    [ -z "$world" ] || kill -TERM "$world" 2>/dev/null || true
    [ -z "$world" ] || wait "$world" 2>/dev/null || true
    if [ "$status" = 0 ]; then
        rm -rf "$dir"
    else
        echo "demo: failed; the last lines of the daemon's log ($dir/postriderd.log):" >&2
        tail -n 20 "$dir/postriderd.log" "$dir/world.log" >&2 || true
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM
say() { printf '\n\033[1m%s\033[0m\n' "$*" | { [ -t 1 ] && cat || sed 's/\x1b\[[0-9;]*m//g'; }; }
postrider() { "$build/postrider" -s "$dir/control.sock" "$@"; }
wait_until() { # seconds, what, command…
    local seconds=$1 what=$2 i
    shift 2
    for ((i = 0; i < seconds * 20; i++)); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.05
    done
    echo "demo: waited $seconds s for $what" >&2
    return 1
}

say "1. A small Internet: DNS and a dozen receivers on loopback (bench/scenarios/demo.yaml)"
"$build/world" -p "$dir/ports.json" -l "$dir/accepted.log" -c "$dir/world.sock" bench/scenarios/demo.yaml \
    >"$dir/world.out" 2>"$dir/world.log" &
world=$!
wait_until 10 "the receivers to come up" grep -q '^world: ready' "$dir/world.out"
cat "$dir/world.out"
dns=$(sed -n 's/^world: ready, dns \([^,]*\),.*/\1/p' "$dir/world.out")
port=$(sed -n 's/.*"smtp_port": *\([0-9]*\).*/\1/p' "$dir/ports.json")

say "2. The daemon, without root"
cat >"$dir/postrider.yaml" <<EOF
hostname: mta1.mountain-post.example
state_directory: $dir/state
jobs: { unix: $dir/jobs.sock, mode: "0600" }
control: { unix: $dir/control.sock, mode: "0600" }
dns: { servers: ["$dns"], timeout: 2s }
sites:
  - { name: default, port: $port, max_connections: 30 }
  - { name: gmail, mx: ["*.google.com", "*.googlemail.com"], max_connections: 20, max_messages_per_connection: 100 }
retry:                                  # minutes in real life, seconds for a demo
  - { status: "4.7.1", schedule: [6s] }
EOF
sed 's/^/    /' "$dir/postrider.yaml"
"$build/postriderd" -c "$dir/postrider.yaml" 2>"$dir/postriderd.log" &
daemon=$!
wait_until 10 "the daemon to come up" postrider status
sed -n '1,2p' "$dir/postriderd.log"

say "3. A newsletter for $count recipients (bench/demo/newsletter.json)"
# Weights like those of a real list; one address in some hundreds is a typing error.
awk -v n="$count" 'BEGIN {
    split("gmail.com:40 yahoo.com:12 outlook.com:10 hotmail.com:8 icloud.com:5 gmx.net:5 web.de:5 comcast.net:4 small-isp.example:4 corporate.example:3 drops.example:2 broken-tls.example:1 slow.example:1", list, " ")
    for (i in list) { split(list[i], pair, ":"); for (k = 0; k < pair[2]; k++) domains[m++] = pair[1] }
    for (i = 1; i <= n; i++) {
        domain = domains[(i * 7919) % m]
        if (i % 400 == 0) domain = "no-such-domain.example"
        if (i % 500 == 0) domain = "null-mx.example"
        printf "{\"to\":\"member%05d@%s\",\"id\":%d,\"vars\":{\"name\":\"Member %d\",\"count\":%d,\"number\":\"MP-%06d\"}}\n", i, domain, i, i, i % 997, i
    }
}' >"$dir/recipients.ndjson"
cat bench/demo/newsletter.json "$dir/recipients.ndjson" >"$dir/job.ndjson"
ls -l "$dir/job.ndjson" | awk '{print "job.ndjson: " $5 " bytes"}'
started=$(date +%s.%N)
answer=$(postrider submit --json "$dir/job.ndjson")
accepted=$(date +%s.%N)
job=$(printf '%s' "$answer" | sed -n 's/.*"job": *"\([0-9]*\)".*/\1/p' | head -n 1)
echo "$answer" | cut -c 1-300
