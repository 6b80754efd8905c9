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
retry:                                  # hours and minutes in real life, seconds for a demo
  - { status: "4.1", schedule: [3s] }
  - { status: "4.2", schedule: [3s] }
  - { status: "4.3", schedule: [3s] }
  - { status: "4.4", schedule: [3s] }
  - { status: "4.7.1", schedule: [6s] }
  - { status: "4.2.2", schedule: [3s], give_up: 9s }   # full mailboxes
EOF
sed 's/^/    /' "$dir/postrider.yaml"
"$build/postriderd" -c "$dir/postrider.yaml" 2>"$dir/postriderd.log" &
daemon=$!
wait_until 10 "the daemon to come up" postrider status
sed -n '1,2p' "$dir/postriderd.log"

say "3. A newsletter for $count recipients (bench/demo/newsletter.json)"
# Shares like those of a real list; some addresses are typing errors.
awk -v n="$count" 'BEGIN {
    split("gmail.com:76 googlemail.com:4 yahoo.com:30 outlook.com:16 hotmail.com:20 gmx.net:12 web.de:10 icloud.com:10 " \
          "comcast.net:8 tidewater.example:4 lindqvist.example:2 flaky.example:2 oldtls.example:2 slowpost.example:2 " \
          "nomail.example:1 gone-away.example:1", list, " ")
    for (i = 1; i in list; i++) { split(list[i], pair, ":"); for (k = 0; k < pair[2]; k++) domains[m++] = pair[1] }
    for (i = 1; i <= n; i++)
        printf "{\"to\":\"member%05d@%s\",\"id\":%d,\"vars\":{\"name\":\"Member %d\",\"count\":%d,\"number\":\"MP-%06d\"}}\n",
            i, domains[(i * 7919) % m], i, i, i % 997, i
}' >"$dir/recipients.ndjson"
cat bench/demo/newsletter.json "$dir/recipients.ndjson" >"$dir/job.ndjson"
head -c 300 "$dir/job.ndjson" && echo "…"
sed -n '2,3p' "$dir/job.ndjson"
started=$(date +%s%N)
postrider submit "$dir/job.ndjson" | tee "$dir/submitted"
accepted=$(date +%s%N)
job=$(sed -n 's/^job \([0-9]*\):.*/\1/p' "$dir/submitted")
[ -n "$job" ]

say "4. Delivery"
first_pass=
for ((i = 0; i < 240; i++)); do
    postrider job "$job" --json | tr ',{' '\n\n' >"$dir/job"
    figure() { sed -n 's/.*"'"$1"'": *\([0-9]*\).*/\1/p' "$dir/job" | head -n 1; }
    delivered=$(figure delivered) deferred=$(figure deferred) bounced=$(figure bounced) queued=$(figure queued) ready=$(figure ready)
    [ -n "$first_pass" ] || [ "$ready" != 0 ] || first_pass=$(date +%s%N)
    [ $((i % 4)) != 0 ] && [ "$queued" != 0 ] ||
        printf '%5.1f s  delivered %6d  deferred %5d  bounced %5d  ready %6d\n' \
            "$(((($(date +%s%N) - started)) / 1000000000)).$(((($(date +%s%N) - started)) / 100000000 % 10))" \
            "$delivered" "$deferred" "$bounced" "$ready"
    [ "$queued" != 0 ] || break
    sleep 0.25
done
ended=$(date +%s%N)
awk -v n="$count" -v d="$delivered" -v s="$started" -v a="$accepted" -v f="${first_pass:-$ended}" -v e="$ended" 'BEGIN {
    printf "accepted %d recipients in %.2f s, durable; everyone tried once after %.1f s (%d a second);\n", n, (a - s) / 1e9, (f - s) / 1e9, n / ((f - s) / 1e9)
    printf "all ended after %.1f s, retries included. The pace is the receivers\047: they answer after 10 to 100 ms and cap connections.\n", (e - s) / 1e9
}'

say "5. By domain"
postrider queue --by domain --all
say "6. By enhanced status"
postrider job "$job"
say "7. The bounce report"
postrider job "$job" bounces
say "8. A delivery status notification, as its reader gets it"
report=
find_report() {
    report=$(curl -sS --unix-socket "$dir/control.sock" "http://postrider/v1/jobs?limit=1000" | tr '{' '\n' |
        grep '"report": *true' | sed -n 's/.*"job": *"\([0-9]*\)".*/\1/p' | head -n 1) # the newest is the shortest
    [ -n "$report" ]
}
wait_until 30 "the report" find_report
curl -sS --unix-socket "$dir/control.sock" "http://postrider/v1/recipients/$report-0-0/message" >"$dir/dsn"
# Its beginning, the part for machines, and the end; in between it goes on alike.
tr -d '\r' <"$dir/dsn" | awk '
    /^Content-Type: message\/delivery-status/ { part = NR }
    NR <= 38 || (part && NR < part + 26) { print; skipped = 0; next }
    !skipped { print "[…]"; skipped = 1 }
    { last[NR % 14] = $0 }
    END { for (i = NR - 13; i <= NR; i++) if (i >= part + 26) print last[i % 14] }'

say "9. What the receivers counted"
kill -TERM "$daemon"
wait "$daemon"
daemon=
awk -F '\t' '$5 != "" && $5 != "<>" { n++ } END { printf "messages accepted for the list: %d\n", n }' "$dir/accepted.log"
awk -F '\t' '$5 != "" && $5 != "<>" { seen[$6]++ } END { for (r in seen) if (seen[r] > 1) twice++; printf "recipients that got it twice: %d\n", twice }' "$dir/accepted.log"
echo
echo "That was it: everything ran in $dir, which is gone now. Next: README.md, \"A first configuration\"."
